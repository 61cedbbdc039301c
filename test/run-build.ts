/** A covariance build run to its end. */
import { buildFiles } from '../src/io/covariance-build.ts';
import type { BuildEvent, BuildJob } from '../src/io/covariance-build.ts';
import type { BuiltFile } from '../src/io/covariance-files.ts';

/** @param onEvent told of all that happens */
export async function runBuild(
  job: BuildJob,
  onEvent: (event: BuildEvent) => void = () => undefined,
): Promise<readonly BuiltFile[]> {
  let files: readonly BuiltFile[] = [];
  for await (const event of buildFiles(job)) {
    onEvent(event);
    if (event.kind === 'finished') files = event.files;
  }
  return files;
}
