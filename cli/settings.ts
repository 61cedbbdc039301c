/** A run that is gone on with must be the run that was begun. */
import { UsageError } from '../src/errors.ts';

type Settings = Readonly<Record<string, unknown>>;

/** @throws UsageError naming the first setting that differs, and both values */
export function sameSettings(stored: Settings, given: Settings, folder: string): void {
  // As JSON has them: undefined members fall away.
  const now = JSON.parse(JSON.stringify(given)) as Settings;
  for (const name of new Set([...Object.keys(stored), ...Object.keys(now)])) {
    const [was, is] = [JSON.stringify(stored[name]), JSON.stringify(now[name])];
    if (was === is) continue;
    throw new UsageError(
      `${folder}: this run was begun with ${name} ${cut(was)}, but now it is ${cut(is)}. ` +
        'Its numbers would not be those of an unbroken run: give the same settings, or another --out.',
      'other_run',
    );
  }
}

function cut(value = 'none'): string {
  return value.length > 80 ? `${value.slice(0, 80)}…` : value;
}
