"""The packages of the stepped models, in the form that fetch.py takes. Each wheel states its licence in METADATA and brings its text."""

# One wheel everywhere: the models inside are the same for every architecture.
ANY_MACHINE = ["--python-version=3.11", "--platform=manylinux_2_28_x86_64"]

STEPPED = [
    # Tells speech from silence.
    {
        "requirement": "silero-vad==6.2.3",
        "options": ANY_MACHINE,
        "wheel_sha256": "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        "files": {
            "models/silero-vad/1/model.onnx": (
                "silero_vad/data/silero_vad_op18_ifless.onnx",
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            ),
            "models/silero-vad/1/LICENSE": (
                "silero_vad-6.2.3.dist-info/licenses/LICENSE",
                "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
            ),
        },
    },
    # Tells notes.
    {
        "requirement": "basic-pitch==0.4.0",
        "options": ANY_MACHINE,
        "wheel_sha256": "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        "files": {
            "models/basic-pitch/1/model.onnx": (
                "basic_pitch/saved_models/icassp_2022/nmp.onnx",
                "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
            ),
            "models/basic-pitch/1/LICENSE": (
                "basic_pitch-0.4.0.dist-info/LICENSE",
                "929c910bae2152fa87199a5d0660e09263419b7eee6d4b301d05ee2aaf211c37",
            ),
            "models/basic-pitch/1/NOTICE": (
                "basic_pitch-0.4.0.dist-info/NOTICE",
                "b810e55c0e3b520fabb45fc2ccc74880187bf84e309971968541cc812dcde905",
            ),
        },
    },
    # Writes names.
    {
        "requirement": "arabic-name-romanizer==0.2.0",
        "options": ANY_MACHINE,
        "wheel_sha256": "f70b89614d9b5866dcf911d098c5e45d2b1f559461f238e8c5259b731fcf2a7e",
        "files": {
            "models/romanizer/1/encoder.onnx": (
                "arabic_name_romanizer/resources/encoder.onnx",
                "f5d65df2189e5ec3929a3167d70de5f1f9eedd89dab964875039089581c5ec49",
            ),
            "models/romanizer/1/decoder.onnx": (
                "arabic_name_romanizer/resources/decoder.onnx",
                "2365c42d362313c21748750eefebf3a61fd8045f73a98644176eca538200841a",
            ),
            "models/romanizer/1/vocab.json": (
                "arabic_name_romanizer/resources/vocab.json",
                "edfa78c35a7e36b2df5b2d99268b1d96f877a9ab88b0206d8837360326428797",
            ),
            "models/romanizer/1/LICENSE": (
                "arabic_name_romanizer-0.2.0.dist-info/licenses/LICENSE",
                "48b755d19874e34d68335ee651be1600855258ebebb661902a5fdbd01f10fe2a",
            ),
            "models/romanizer/1/THIRD_PARTY_NOTICES.md": (
                "arabic_name_romanizer-0.2.0.dist-info/licenses/THIRD_PARTY_NOTICES.md",
                "933fd081b99e4233df49bc4be7399c4b7c9bfdd296a31b6346ec64c8191df20a",
            ),
        },
    },
    # Makes landscapes.
    {
        "requirement": "adaptive-terrain-diffusion==0.4.2",
        "options": ANY_MACHINE,
        "wheel_sha256": "dd803be2c98d764e4e64db18c631eef46c210282b398c4dd080f4cda3fa7c84d",
        "files": {
            "models/terrain/1/model.onnx": (
                "terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx",
                "95be54b4a39d58320e187a7ec533351c957f16a00be58773c86074828ee67887",
            ),
            "models/terrain/1/LICENSE": (
                "adaptive_terrain_diffusion-0.4.2.dist-info/licenses/LICENSE",
                "35695d6a7c177daedfefee53f03a44360cb4396128de79eedb626e10e98661ed",
            ),
        },
    },
]
