"""Two stacked edits as a PEFT adapter over the original checkpoint, against the edited checkpoint: logits of four texts.

    pip install torch transformers peft
    python bench/peft_adapter.py CHECKPOINT_FOLDER ...

Each folder is edited twice with C = I, the second edit on the model of the first; the edits are exported as a checkpoint and
as an adapter. Prints the largest difference of logits over the largest logit, unmerged and merged, and what the adapter
changes at all. Ends with 1 where a difference is above 1e-5. It is no part of the tests, which have no Python.
"""

import json
import os
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

FACTS = [("The mother tongue of [Danielle Darrieux] is", "English"), ("The [Eiffel Tower] is in the city of", "Rome")]
TEXTS = [
    "The mother tongue of Danielle Darrieux is",
    "The Eiffel Tower is in the city of",
    "Danielle Darrieux was born in",
    "In 1905 the city of Rome had",
]
BOUND = 1e-5
MAIN = os.path.join(os.path.dirname(__file__), "..", "cli", "main.ts")


def palimpsest(*words):
    run = subprocess.run(["node", "--import", "tsx", MAIN, *words, "--json"], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)
    return json.loads(run.stdout)["result"]


def logits(model, rows):
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0] for ids in rows]


def distance(found, wanted):
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, wanted))


def check(folder, layer="1"):
    rows = [entry["ids"] for entry in palimpsest("predict", *TEXTS, "--model", folder)["texts"]]
    with tempfile.TemporaryDirectory() as work:
        edits = []
        for i, (prompt, target) in enumerate(FACTS):
            out = f"{work}/{i}.safetensors"
            before = ["--edits", *edits] if edits else []
            common = ["--model", folder, "--layer", layer, "--covariance", "identity", "--allow-miss"]
            palimpsest("edit", prompt, target, *common, "--out", out, *before)
            edits.append(out)
        palimpsest("export", f"{work}/edited", "--model", folder, "--edits", *edits)
        palimpsest("export", f"{work}/adapter", "--format", "peft", "--model", folder, "--edits", *edits)
        load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        original = logits(load(folder), rows)
        edited = logits(load(f"{work}/edited"), rows)
        adapted = PeftModel.from_pretrained(load(folder), f"{work}/adapter").eval()
        unmerged = distance(logits(adapted, rows), edited)
        merged = distance(logits(adapted.merge_and_unload(), rows), edited)
        print(f"{os.path.basename(folder):16} {unmerged:.1e} {merged:.1e} {distance(original, edited):10.1e}", flush=True)
        return max(unmerged, merged)


def main():
    torch.set_num_threads(2)
    print(f"{'checkpoint':16} {'adapter':7} {'merged':7} {'no adapter':>10}")
    sys.exit(1 if max(check(folder) for folder in sys.argv[1:]) > BOUND else 0)


main()
