#!/usr/bin/env bash
# One call on a machine with a GPU: is all there, is the stack equal to the CPU, how fast is it? Nothing is downloaded.
#
#     benchmarks/gpu.sh [OUT]      OUT (default: gpu-results) gets the tables as JSON and text
#
# Needs Python 3.11+ with torch, numpy, einops, scipy, pandas, pyyaml, safetensors, joblib, filelock, rich, typer and an
# OpenCV; no captum, plotly or ipywidgets.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
mkdir -p "$out"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONUNBUFFERED=1
python3 - <<'PY'
import torch
from stagkit import folds, prepare  # the training path, without any notebook library
assert torch.cuda.is_available(), "no CUDA GPU here"
print("torch", torch.__version__, torch.cuda.get_device_name(0))
PY
python3 benchmarks/training.py --check --device cuda | tee "$out/check.txt"
# the loop on the same GPU is slow: few epochs tell its pace; the stack runs the whole plan
python3 benchmarks/training.py --device cuda --frames 12 --backends sequential stacked --epochs "${LOOP_EPOCHS:-2}" \
    --json "$out/ratio.json" | tee "$out/ratio.txt"
python3 benchmarks/training.py --device cuda --frames 1 12 --backends stacked --epochs 60 \
    --json "$out/stacked.json" | tee "$out/stacked.txt"
