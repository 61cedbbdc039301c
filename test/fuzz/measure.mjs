/** Loaded into a process under test: at its end, the seconds of the processor and the peak of its memory go to fd 3. */
import { writeSync } from 'node:fs';

process.on('exit', () => {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  try {
    writeSync(3, `${(userCPUTime + systemCPUTime) / 1e6} ${maxRSS / 1024}`);
  } catch {
    // nobody listens
  }
});
