"""What must not be pushed: weights, large files, secrets. Told from a file's name and its bytes."""

import json
import re
import struct
from pathlib import PurePosixPath

LARGEST = 10 * 2**20  # bytes
WEIGHT_SUFFIXES = frozenset(
    {".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".torchscript", ".mar", ".onnx", ".tflite"}
    | {".h5", ".hdf5", ".keras", ".npy", ".npz", ".pkl", ".pickle", ".joblib"}
)
TORCH_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save wrote until 1.6
ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
TORCH_ZIP = re.compile(rb"/(?:data|constants)\.pkl")
SECRET_FILES = frozenset({".env", ".netrc", "_netrc", ".git-credentials", ".pypirc"})
ENV_EXAMPLES = (".example", ".sample", ".template")
SECRETS: dict[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "an AWS access key": re.compile(rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "a GitHub token": re.compile(
        rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_\w{59})"
    ),
    "a GitLab token": re.compile(rb"(?<![A-Za-z0-9])glpat-[\w-]{20}"),
    "a Hugging Face token": re.compile(rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    "an AIcrowd key": re.compile(
        rb"aicrowd[\w.-]{0,20}(?:key|token)[\"' ]{0,2}[=: ][\"' ]{0,2}[0-9a-f]{32}(?![0-9a-f])",
        re.IGNORECASE,
    ),
}


def weights_in(path: str, content: bytes) -> str:
    """What makes a file look like weights; "" where nothing does."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in WEIGHT_SUFFIXES:
        return f"its name ends in {suffix}"
    if content.startswith(ZIP) and TORCH_ZIP.search(content):
        return "a zip as torch.save writes it"
    if content[:1] == b"\x80" and TORCH_LEGACY in content[:16]:
        return "a file as old versions of torch.save wrote it"
    if content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5" and content[-1:] == b".":
        return "a pickle"
    if content.startswith(HDF5):
        return "an HDF5 file"
    return "a safetensors file" if _is_safetensors(content) else ""


def secret_in(path: str, content: bytes) -> str:
    """What a file gives away; "" where nothing is found."""
    name = PurePosixPath(path).name
    if name in SECRET_FILES or (name.startswith(".env.") and not name.endswith(ENV_EXAMPLES)):
        return f"{name} holds passwords by custom"
    return next((what for what, pattern in SECRETS.items() if pattern.search(content)), "")


def _is_safetensors(content: bytes) -> bool:
    """A length, and a JSON object of that length which describes tensors."""
    if len(content) < 10 or content[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", content[:8])
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return False
    return len(content) >= 8 + length and isinstance(header, dict)
