"""Writes the archives beside it with numpy: what ROME's `numpy.savez` and `numpy.savez_compressed` give."""
import io
import os
import zipfile

import numpy

here = os.path.dirname(os.path.abspath(__file__))
T, F = 40, 6
# Small whole numbers: sums are exact in float32, and the test forms them anew from this formula.
keys = numpy.array([[(7 * t + 3 * i + t * i) % 5 - 2 for i in range(F)] for t in range(T)], dtype=numpy.float32)
members = {
    "mom2.constructor": "util.runningstats.SecondMoment()",
    "mom2.count": T,
    "mom2.mom2": keys.T @ keys,
    "sample_size": 3,
}
numpy.savez(os.path.join(here, "stored.npz"), **members)
numpy.savez_compressed(os.path.join(here, "deflated.npz"), **members)


def npy(array, version=None):
    out = io.BytesIO()
    numpy.lib.format.write_array(out, numpy.asanyarray(array), version=version)
    return out.getvalue()


ramp = numpy.arange(6, dtype="<f8").reshape(2, 3) / 4
with zipfile.ZipFile(os.path.join(here, "kinds.npz"), "w") as archive:
    for version in (1, 2, 3):
        archive.writestr(f"v{version}.npy", npy(ramp, (version, 0)))
    archive.writestr("f4.npy", npy(ramp.astype("<f4")))
    archive.writestr("i4.npy", npy(numpy.array([-1, 2**31 - 1], dtype="<i4")))
    archive.writestr("i8.npy", npy(numpy.array([-(2**40)], dtype="<i8")))
    archive.writestr("text.npy", npy(numpy.array(["k\u2217", "\U0001f4dc ink"])))
    archive.writestr("empty.npy", npy(numpy.zeros((0, 4), dtype="<f4")))

for name, array in {
    "fortran": numpy.asfortranarray(ramp),
    "big-endian": ramp.astype(">f8"),
    "half": ramp.astype("<f2"),
    "record": numpy.zeros(2, dtype=[("a", "<f4")]),
}.items():
    with zipfile.ZipFile(os.path.join(here, f"{name}.npz"), "w") as archive:
        archive.writestr("x.npy", npy(array))
