/** What the page computes of its own accord; the recorded run is of the same. */

/** Degrees between key and u at which the curve of "turn the key" is computed; it ends just short of the pole. */
export const ANGLES: readonly number[] = [
  0, 10, 20, 30, 40, 50, 60, 65, 70, 75, 78, 80, 82, 84, 85, 86, 87, 88, 88.5, 89, 89.3, 89.5,
];

/** What the model goes on with while the paper's sequence is replayed. */
export const REPLAY_PROMPT = 'The mother tongue of Danielle Darrieux';
