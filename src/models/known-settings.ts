/**
 * Settings that are known to work, by the shape of a model, so that a fine-tuned copy under any name has those of what it
 * was made from. Sources disagree; where they do, the one whose numbers are given whole is taken.
 *
 *   GPT-J 6B         kmeng01/rome, hparams/ROME/EleutherAI_gpt-j-6B.json
 *   GPT-NeoX 20B     kmeng01/memit, hparams of EleutherAI_gpt-neox-20b
 *   Llama 2, Llama 3 Yoon et al. 2024, arXiv 2405.00664: layer 1 with a real C (EasyEdit: layer 5 with C = I)
 *   Qwen 2.5 7B      EasyEdit, hparams/ROME/qwen2.5-7b.yaml (NAS: layer 11)
 *   SmolLM2 135M     measured here: README, "A real model"
 */
import type { Architecture } from './architecture.ts';

/** What an edit takes where nothing else is said. */
export interface KnownSettings {
  /** The layer whose MLP is edited, from 0. */
  readonly edit_layer: number;
  /** κ: the longest δ, in lengths of v0. */
  readonly clamp: number;
  readonly steps?: number | undefined;
  readonly learning_rate?: number | undefined;
  readonly weight_decay?: number | undefined;
  readonly kl_factor?: number | undefined;
  /** Where they come from. */
  readonly source?: string | undefined;
}

const COMMON = { clamp: 4, learning_rate: 0.5, weight_decay: 0.5, kl_factor: 0.0625 };

/** By name, layers, D and F. */
const TABLE: Readonly<Record<string, KnownSettings>> = {
  'gptj 28 4096 16384': { ...COMMON, edit_layer: 5, steps: 20, source: 'kmeng01/rome' },
  'gpt_neox 44 6144 24576': { ...COMMON, edit_layer: 15, steps: 20, source: 'kmeng01/memit' },
  'llama 32 4096 11008': { ...COMMON, edit_layer: 1, steps: 25, source: 'arXiv 2405.00664' },
  'llama 32 4096 14336': { ...COMMON, edit_layer: 1, steps: 25, source: 'arXiv 2405.00664' },
  'qwen2 28 3584 18944': { ...COMMON, edit_layer: 5, steps: 25, weight_decay: 1e-3, source: 'EasyEdit' },
  'llama 30 576 1536': { ...COMMON, edit_layer: 3, steps: 20, source: 'measured for this table' },
};

/** The settings known for a model of this shape. */
export function knownSettings({ name, dims }: Architecture): KnownSettings | undefined {
  return TABLE[`${name} ${dims.layers} ${dims.D} ${dims.F}`];
}
