#!/usr/bin/env python3
"""Loads model folders in Hugging Face transformers and runs each once: what we write, others must be able to read.

Every weight of the network must come from the folder and every weight of the folder must be used; the logits must be
finite. Exits with 1 at any failure, with 77 when transformers is not installed.
"""

import argparse
import pathlib
import sys

NOT_RUN = 77


def faults_of(folder, token_count):
    """What is wrong with the model in `folder`, in words; empty when all is well."""
    import torch
    import transformers

    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, local_files_only=True, torch_dtype="auto"
    )
    faults = []
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        names = sorted(str(name) for name in info.get(kind, []))
        if names:
            faults.append(f"{kind.replace('_', ' ')}: {', '.join(names[:5])}" + (" ..." if len(names) > 5 else ""))
    tokens = torch.arange(token_count).remainder(model.config.get_text_config().vocab_size).unsqueeze(0)
    with torch.inference_mode():
        logits = model(tokens).logits
    if not torch.isfinite(logits).all():
        faults.append("logits are not finite")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--tokens", type=int, default=16, help="length of the input (16)")
    arguments = parser.parse_args()
    try:
        import transformers
        import torch  # noqa: F401
    except ImportError as error:
        print(f"not run: {error.name} is not installed")
        sys.exit(NOT_RUN)

    failed = False
    for folder in arguments.folders:
        try:
            if not pathlib.Path(folder).is_dir():
                raise FileNotFoundError("no such folder")
            faults = faults_of(folder, arguments.tokens)
        except Exception as error:  # Whatever transformers throws is a failure of this folder, not of the others.
            faults = [f"{type(error).__name__}: {error}"]
        print(f"{folder}: " + ("ok" if not faults else "; ".join(faults)))
        failed = failed or bool(faults)
    print(f"transformers {transformers.__version__}, {len(arguments.folders)} folders")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
