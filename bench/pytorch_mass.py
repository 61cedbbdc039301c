"""The published closed form of MEMIT in PyTorch float64, timed, for bench/mass-solve.ts to be held against.

    python bench/pytorch_mass.py FOLDER [F,N,D ...]

writes C, K, R and U of each size to FOLDER/F-N-D.safetensors, with the seconds of the fastest of three runs in its
metadata. C has eigenvalues from 1 down to 1e-4, as a layer's has, in a random basis of reflections.
"""
import sys, time
import torch
from safetensors.torch import save_file

LAMBDA = 15000.0
folder = sys.argv[1]
for F, N, D in [tuple(map(int, a.split(","))) for a in sys.argv[2:]] or [(1024, 100, 256), (1024, 1000, 256), (6400, 100, 1600), (6400, 1000, 1600)]:
    g = torch.Generator().manual_seed(0)
    rand = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    root = torch.logspace(0, -2, F, dtype=torch.float64)
    V = torch.linalg.qr(rand(F, 8))[0]
    turn = lambda x: x - 2 * (x @ V) @ V.T  # a reflection in eight directions, its own inverse
    C = turn(turn(torch.diag(root**2)).T).float()
    K, R = turn(rand(N, F) * root).float(), rand(N, D).float()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        k = K.double()
        U = torch.linalg.solve(LAMBDA * C.double() + k.T @ k, k.T @ R.double())
        seconds.append(time.perf_counter() - start)
    tensors = {"C": C.contiguous(), "K": K.contiguous(), "R": R.contiguous(), "U": U.float().contiguous()}
    save_file(tensors, f"{folder}/{F}-{N}-{D}.safetensors", metadata={"seconds": str(min(seconds)), "lambda": str(LAMBDA)})
