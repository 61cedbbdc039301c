"""An edit asked back through llama.cpp: a GGUF adapter over a (quantised) base, beside our own log-probabilities.

    pip install llama-cpp-python          # builds in some minutes
    palimpsest edit --model MODEL ... --out edit.safetensors
    palimpsest export lora --format gguf --model MODEL --edits edit.safetensors
    palimpsest predict TEXT... --model MODEL --edits edit.safetensors --json > ours.json
    python bench/gguf_adapter.py BASE.gguf lora/adapter.gguf ours.json

Prints the three best next tokens of each text: ours, llama.cpp's without and with the adapter; ends with 1 where our best
token is not llama.cpp's, or its log-probability is further than 0.05 away. It is no part of the tests, which have no Python.
"""

import json
import sys

import llama_cpp.llama_cpp as library
from llama_cpp import Llama

BOUND = 0.05

# Repacked weights crash on some processors with AMX (llama-cpp-python 0.3.36).
defaults = library.llama_model_default_params


def plain_buffers():
    params = defaults()
    params.use_extra_bufts = False
    return params


library.llama_model_default_params = plain_buffers


def best(model, text):
    answer = model.create_completion(text, max_tokens=1, temperature=0, logprobs=3)["choices"][0]
    return {token: round(float(value), 4) for token, value in answer["logprobs"]["top_logprobs"][0].items()}


def main():
    base, adapter, ours = sys.argv[1:4]
    options = dict(n_ctx=256, logits_all=True, verbose=False)
    without, with_adapter = Llama(base, **options), Llama(base, lora_path=adapter, **options)
    result = json.load(open(ours))["result"]
    failed = False
    for entry in result.get("texts", [result]):
        text = entry.get("text") or "".join(entry["tokens"])
        mine = {found["token"]: round(found["logprob"], 4) for found in entry["next"][:3]}
        theirs = best(with_adapter, text)
        print(f"{text}\n  ours, edited       {mine}\n  llama.cpp, base    {best(without, text)}\n  llama.cpp, adapter {theirs}")
        token = next(iter(mine))
        failed |= token != next(iter(theirs)) or abs(mine[token] - theirs[token]) > BOUND
    sys.exit(1 if failed else 0)


main()
