"""The published closed forms of MEMIT and AlphaEdit in PyTorch float64, timed, for bench/mass-solve.ts to be held against.

    python bench/pytorch_mass.py FOLDER [F,N,D ...]

writes C, K, R and U of each size to FOLDER/F-N-D.safetensors, with the seconds of the fastest run in its metadata.
C has eigenvalues from 1 down to 1e-4, as a layer's has, in a random basis of reflections.
"""
import sys, time
import torch
from safetensors.torch import save_file

folder = sys.argv[1]
sizes = [tuple(map(int, a.split(","))) for a in sys.argv[2:]] or [(1024, 100, 256), (1024, 1000, 256), (6400, 100, 1600), (6400, 1000, 1600)]
LAMBDA, RUNS = 15000.0, 3

for F, N, D in sizes:
    g = torch.Generator().manual_seed(0)
    rand = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    root = torch.logspace(0, -2, F, dtype=torch.float64)
    V = torch.linalg.qr(rand(F, 8))[0]
    turn = lambda x: x - 2 * (x @ V) @ V.T  # a reflection in eight directions, its own inverse
    C = turn(turn(torch.diag(root**2)).T).float()
    K, R = turn(rand(N, F) * root).float(), rand(N, D).float()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        k = K.double()
        U = torch.linalg.solve(LAMBDA * C.double() + k.T @ k, k.T @ R.double())
        seconds.append(time.perf_counter() - start)
    print(f"F {F} N {N} D {D}: MEMIT {min(seconds):.4f} s", flush=True)
    save_file({"C": C.contiguous(), "K": K.contiguous(), "R": R.contiguous(), "U": U.float().contiguous()}, f"{folder}/{F}-{N}-{D}.safetensors",
              metadata={"seconds": str(min(seconds)), "lambda": str(LAMBDA)})
    # AlphaEdit as published: the projector N is at hand, and the system is not symmetric
    S, E = torch.linalg.eigh(C.double()) if F <= 1024 else (None, None)
    P = E[:, S < 2e-2] @ E[:, S < 2e-2].T if F <= 1024 else torch.eye(F, dtype=torch.float64)
    start = time.perf_counter()
    torch.linalg.solve(P @ (k.T @ k) + 10 * torch.eye(F, dtype=torch.float64), P @ k.T @ R.double())
    print(f"F {F} N {N} D {D}: AlphaEdit {time.perf_counter() - start:.4f} s", flush=True)
