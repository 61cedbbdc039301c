"""Small models of random shapes and settings with their float64 logits, for bench/random-models.ts to be held against.

    pip install torch transformers
    python bench/random_models.py FOLDER [NUMBER = 60] [SEED = 0]

Every switch of `config.json` that the engine knows is thrown: sizes of heads and MLP, heads of keys, biases, RoPE and its
scaling, tied heads, forms of GELU, 32 and 16 bits, shards. The classes of transformers compute the logits, and ten greedy
tokens after two prompts, with the gap between the best two logits.
"""

import json
import pathlib
import random
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import GPT2Config, GPTJConfig, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
folder = pathlib.Path(sys.argv[1])
number, seed = (int(a) for a in (sys.argv[2:4] + ["60", "0"][len(sys.argv[2:4]) :]))
tokenizer = pathlib.Path(__file__).parent.parent / "weights/facts/tokenizer.json"
VOCABULARY = 8192
NEW_TOKENS = 10
rng = random.Random(seed)


def config():
    of = rng.choice
    H, S, L, context = of([1, 2, 3, 4, 6]), of([8, 16, 20, 24, 32]), of([1, 2, 3]), of([64, 100, 128])
    D, F, V = H * S, of([24, 60, 100, 128]), VOCABULARY + of([0, 3, 64])
    shared = dict(vocab_size=V, initializer_range=of([0.02, 0.1, 0.3]))
    old = dict(shared, n_embd=D, n_layer=L, n_head=H, n_positions=context, n_inner=of([None, F]))
    new = dict(shared, hidden_size=D, num_hidden_layers=L, num_attention_heads=H, intermediate_size=F, max_position_embeddings=context)
    theta = of([1e3, 1e4, 5e5])
    plain = dict(rope_type="default", rope_theta=theta)
    linear = dict(rope_type="linear", rope_theta=theta, factor=of([2.0, 4.0]))
    llama3 = dict(rope_type="llama3", rope_theta=theta, factor=of([8.0, 32.0]), low_freq_factor=1.0, high_freq_factor=4.0)
    llama3["original_max_position_embeddings"] = of([16, 32])
    family = of([GPT2Config, GPTJConfig, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config])
    if family is GPT2Config:
        return family(**old, activation_function=of(["gelu_new", "gelu_pytorch_tanh"]), layer_norm_epsilon=of([1e-5, 1e-6]))
    if family is GPTJConfig:
        return family(**old, rotary_dim=of([4, 8, S]))
    if family is GPTNeoXConfig:
        act, part = of(["gelu", "gelu_new", "gelu_fast"]), of([0.25, 0.5, 1.0] if S % 8 == 0 else [0.5, 1.0])
        return family(
            **new, rotary_pct=part, rotary_emb_base=theta, hidden_act=act, use_parallel_residual=of([True, False]), attention_bias=of([True, False])
        )
    KV = of([n for n in range(1, H + 1) if H % n == 0])
    new.update(num_key_value_heads=KV, rms_norm_eps=of([1e-5, 1e-6]), tie_word_embeddings=of([True, False]))
    if family is LlamaConfig:
        biases = dict(attention_bias=of([True, False]), mlp_bias=of([True, False]))
        return family(**new, **biases, head_dim=of([None, 16]), rope_parameters=of([plain, linear, llama3]))
    if family is MistralConfig:
        return family(**new, head_dim=of([S, 16]), sliding_window=of([None, 50, 4096]), rope_parameters=plain)
    if family is Qwen2Config:
        return family(**new, rope_parameters=plain)
    return family(**new, head_dim=of([8, 16, 32]), attention_bias=of([True, False]), rope_parameters=plain)


def greedy(model, prompt):
    row, gap = list(prompt), float("inf")
    for _ in range(NEW_TOKENS):
        best = model(torch.tensor([row])).logits[0, -1].topk(2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        row.append(best.indices[0].item())
    return dict(prompt=prompt, added=row[len(prompt) :], gap=gap)


for i in range(number):
    torch.manual_seed(1000 * seed + i)
    drawn = config()
    path = folder / f"{seed}-{i}-{drawn.model_type}"
    model = transformers.AutoModelForCausalLM.from_config(drawn)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:  # gains are 1 and biases 0 otherwise
                weight.add_(0.2 * torch.randn_like(weight))
        model.to(rng.choice([torch.float32, torch.float16, torch.bfloat16])).save_pretrained(path, max_shard_size=rng.choice(["10GB", "60KB"]))
        (path / "tokenizer.json").write_text(tokenizer.read_text())
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager").eval()
        ids = torch.randint(0, drawn.vocab_size, (rng.choice([3, 17, 40, 48]),))
        save_file({"logits": model(ids[None]).logits[0].float().contiguous()}, path / "logits.st")
        texts = [greedy(model, torch.randint(0, drawn.vocab_size, (n,)).tolist()) for n in (rng.choice([1, 2, 5]), rng.choice([9, 16, 30]))]
    (path / "want.json").write_text(json.dumps(dict(ids=ids.tolist(), texts=texts)))
