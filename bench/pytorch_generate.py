"""Tokens a second of transformers' `generate`, to set beside `palimpsest bench generate --model-size small`.

Greedy, float32, two threads, random weights in the shape of GPT-2 small, the prompts of that bench: one of 16 tokens, and
eight at once. The time of a run of two new tokens is taken off, so that the prompts themselves do not count.

    pip install torch transformers
    python bench/pytorch_generate.py
"""

import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

ROUNDS = 4
NEW_TOKENS = 48


def seconds(model, prompts, tokens):
    ids = torch.tensor([[(b * 31 + i * 7) % 8192 for i in range(16)] for b in range(prompts)])
    start = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return time.perf_counter() - start


def main():
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None)).eval()
    rates = {1: [], 8: []}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for prompts, found in rates.items():
                short = seconds(model, prompts, 2)
                found.append(prompts * NEW_TOKENS / (seconds(model, prompts, 2 + NEW_TOKENS) - short))
    for prompts, found in rates.items():
        middle = sorted(found)[len(found) // 2]
        print(f"{prompts} prompt{'s' if prompts > 1 else ' '}  {middle:.1f} tokens a second")


if __name__ == "__main__":
    main()
