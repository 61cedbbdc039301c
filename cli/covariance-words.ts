/** What the covariance commands say of a file. */
import { formatShards } from '../src/formats/covariance-file.ts';
import type { CovarianceFacts } from '../src/formats/covariance-file.ts';
import type { Terminal } from './terminal.ts';

export function describeFacts(facts: CovarianceFacts): string {
  const shard = facts.shards ? `shard ${formatShards(facts.shards)}, ` : '';
  return `layer ${facts.layer} of ${facts.model}: ${shard}${count(facts.tokens)} tokens, ${count(facts.documents)} documents of ${facts.corpusName}`;
}

export function warnOfText({ empty, invalid }: CovarianceFacts, terminal: Terminal): void {
  if (empty > 0) terminal.note(`palimpsest: ${count(empty)} empty documents were left out.`);
  if (invalid > 0)
    terminal.warn(`${count(invalid)} documents have bytes that are no UTF-8; each was read as U+FFFD.`);
}

export function count(n: number): string {
  return n.toLocaleString('en');
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
