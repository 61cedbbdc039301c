/** CodeMirror for WGSL, loaded when it is opened. It lies in a shadow root, where its styles need no exception in the CSP. */
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import type { ShaderFault } from '../engine/protocol.ts';
import { tokenise } from './wgsl.ts';
import type { Kind } from './wgsl.ts';

const NAMES: Readonly<Partial<Record<Kind, string>>> = {
  comment: 'comment',
  keyword: 'keyword',
  type: 'typeName',
  attribute: 'attributeName',
  number: 'number',
};

const wgsl = StreamLanguage.define<undefined>({
  name: 'wgsl',
  startState: () => undefined,
  token: (stream) => {
    const [first] = tokenise(stream.string.slice(stream.pos));
    if (!first) {
      stream.skipToEnd();
      return null;
    }
    stream.pos += first.text.length;
    return NAMES[first.kind] ?? null;
  },
});

const colours = HighlightStyle.define([
  { tag: tags.comment, color: 'var(--faint)' },
  { tag: tags.keyword, color: 'var(--new)' },
  { tag: [tags.typeName, tags.attributeName], color: 'var(--old)' },
  { tag: tags.number, color: 'var(--ink)', fontWeight: '600' },
]);

const theme = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'var(--sheet)', fontSize: '14px', maxHeight: '70vh' },
  '.cm-content': { caretColor: 'var(--ink)', fontFamily: 'ui-monospace, monospace' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '.cm-gutters': { color: 'var(--faint)', backgroundColor: 'var(--sheet)', border: 'none' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--line) 40%, transparent)' },
  '&.cm-focused': { outline: '3px solid var(--old)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'color-mix(in srgb, var(--old) 30%, transparent)',
  },
  '.cm-scroller': { overflow: 'auto' },
});

/**
 * Typing over a selection: left to itself, Blink keeps the old text's style in an attribute, which the page's policy
 * forbids and the console reports.
 */
const typing = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const over = event.inputType === 'insertText' && !view.state.selection.main.empty;
    if (!over || event.data === null || !event.cancelable) return false;
    event.preventDefault();
    view.dispatch(view.state.replaceSelection(event.data));
    return true;
  },
});

export class Editor {
  readonly #view: EditorView;
  readonly #extensions;

  constructor(place: HTMLElement, label: string) {
    const root = place.attachShadow({ mode: 'open' });
    this.#extensions = [
      lineNumbers(),
      history(),
      drawSelection(),
      highlightActiveLine(),
      lintGutter(),
      // Tab leaves the editor, as it leaves every other field: nobody is caught in it.
      keymap.of([...defaultKeymap, ...historyKeymap]),
      typing,
      wgsl,
      syntaxHighlighting(colours),
      theme,
      EditorView.contentAttributes.of({ 'aria-label': label, spellcheck: 'false', tabindex: '0' }),
    ];
    this.#view = new EditorView({ parent: root, root });
  }

  get text(): string {
    return this.#view.state.doc.toString();
  }

  set(text: string): void {
    this.#view.setState(EditorState.create({ doc: text, extensions: this.#extensions }));
  }

  /** Errors beside their lines. */
  mark(faults: readonly ShaderFault[]): void {
    const { state } = this.#view;
    const diagnostics = faults.map(({ line, column, message }) => {
      const { from, to } = state.doc.line(Math.max(1, Math.min(line, state.doc.lines)));
      const start = Math.min(to, from + Math.max(0, column - 1));
      return { from: start, to: Math.max(start, to), severity: 'error' as const, message };
    });
    this.#view.dispatch(setDiagnostics(state, diagnostics));
  }

  goTo(line: number): void {
    const { from } = this.#view.state.doc.line(Math.max(1, Math.min(line, this.#view.state.doc.lines)));
    this.#view.dispatch({ selection: { anchor: from }, scrollIntoView: true });
    this.#view.focus();
  }
}
