"""One r-ROME edit in plain PyTorch, to be timed beside ours: every step runs the whole model, as the Python tools do.

    npx tsx test/write-random-model.ts random-small small
    python bench/pytorch_edit.py random-small test/golden/fixtures/contexts.json      # pip install torch safetensors tokenizers
    npm run -s palimpsest -- bench edit --model-size small

float32, C = I, layer 5, 20 steps, 21 contexts and a KL row in one padded batch. Weights take no gradients; the backward
pass ends at delta. Prints the seconds of each run and their median. It checks nothing: what is exact is tested elsewhere.
"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

LAYER, STEPS, RATE, KL_WEIGHT, DECAY, CLAMP = 5, 20, 0.5, 0.0625, 0.5, 4.0
PROMPT, SUBJECT, TARGET = "The mother tongue of {} is", "Danielle Darrieux", " English"


class Gpt2:
    """Weights by their published names, with or without the prefix `transformer.`."""

    def __init__(self, folder):
        weights = load_file(f"{folder}/model.safetensors")
        self.w = {name.removeprefix("transformer."): tensor.float() for name, tensor in weights.items()}
        config = json.load(open(f"{folder}/config.json"))
        self.layers, self.heads, self.width = config["n_layer"], config["n_head"], config["n_embd"]
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")

    def norm(self, x, name):
        return F.layer_norm(x, (self.width,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def forward(self, ids, at_mlp=lambda layer, key, out: out):
        """Logits [B, T, V]; `at_mlp` sees the key and output of every MLP and may replace the output."""
        rows, length = ids.shape
        x = self.w["wte.weight"][ids] + self.w["wpe.weight"][:length]
        for i in range(self.layers):
            qkv = self.linear(self.norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
            heads = [part.view(rows, length, self.heads, -1).transpose(1, 2) for part in qkv.split(self.width, -1)]
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.linear(mixed.transpose(1, 2).reshape(rows, length, -1), f"h.{i}.attn.c_proj")
            key = F.gelu(self.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
            x = x + at_mlp(i, key, self.linear(key, f"h.{i}.mlp.c_proj"))
        return self.norm(x, "ln_f") @ self.w["wte.weight"].T


def edit(model, contexts):
    """The search for v* and the two vectors of W += u lambdaT, with one averaged key throughout."""
    encode = lambda text: model.tokenizer.encode(text).ids
    target = encode(TARGET)
    begun = [context.format(PROMPT.split("{}")[0] + SUBJECT) for context in contexts]
    texts = [encode(text + PROMPT.split("{}")[1]) + target[:-1] for text in begun]
    texts.append(encode(f"{SUBJECT} is a"))
    lookups = torch.tensor([len(encode(text)) - 1 for text in begun] + [len(encode(SUBJECT)) - 1])
    ids = torch.tensor([row + [0] * (max(map(len, texts)) - len(row)) for row in texts])
    every = torch.arange(len(texts))
    ends = torch.tensor([len(row) for row in texts])

    delta = torch.zeros(model.width, requires_grad=True)
    seen = {}

    def at_mlp(layer, key, out):
        if layer != LAYER:
            return out
        if not seen:
            seen.update(key=key[every, lookups].detach(), value=out[every, lookups].detach())
        added = torch.zeros_like(out)
        added[every, lookups] = 1.0
        return out + added * delta

    optimiser = torch.optim.Adam([delta], lr=RATE)
    before = None
    for step in range(STEPS):
        logits = model.forward(ids, at_mlp).log_softmax(-1)
        rewrites = every[:-1]
        nll = -torch.stack(
            [logits[rewrites, ends[:-1] - len(target) + i, token] for i, token in enumerate(target)]
        ).mean()
        essence = logits[-1, lookups[-1]]
        before = essence.detach() if before is None else before
        kl = KL_WEIGHT * F.kl_div(before, essence, log_target=True, reduction="sum")
        value = seen["value"][0]
        loss = nll + kl + DECAY * delta.norm() / value.norm() ** 2
        if step == STEPS - 1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            delta *= min(1.0, float(CLAMP * value.norm() / delta.norm()))

    key = seen["key"][:-1].mean(0)
    u = key / key.norm()  # C = I
    return u, delta.detach() / (key @ u)


def main():
    folder, contexts, runs = sys.argv[1], json.load(open(sys.argv[2])), int((sys.argv + ["3"])[3])
    model, seconds = Gpt2(folder), []
    for _ in range(runs):
        start = time.perf_counter()
        edit(model, contexts)
        seconds.append(time.perf_counter() - start)
    shown = ", ".join(f"{s:.2f}" for s in seconds)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads: {statistics.median(seconds):.2f} s an edit ({shown})")


main()
