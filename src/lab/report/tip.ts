/** The page's only script: a mark under the pointer says what it is, in the words that screen readers are given. */
export const TIP = `
(() => {
  const tip = document.getElementById('tip');
  const tell = (event) => {
    const mark = event.target instanceof Element && event.target.closest('svg [aria-label][aria-roledescription]');
    const text = mark && mark.tagName !== 'g' && mark.getAttribute('aria-label');
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8)) + 'px';
    tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + 'px';
  };
  addEventListener('pointermove', tell, { passive: true });
  addEventListener('pointerdown', tell, { passive: true });
})();
`;
