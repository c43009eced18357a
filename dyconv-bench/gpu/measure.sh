#!/usr/bin/env bash
# Builds, tests and measures on this machine's GPU, and writes one record: adapter, driver, every layer's
# kernels, and PyTorch on the same GPU in the same run where it is installed. From the repository's root:
#
#   dyconv-bench/gpu/measure.sh [--smoke] [RECORD.json]
#
# Cargo stays offline: `cargo fetch` first, or bring its cache. --smoke is for software adapters and gates: the
# small layers, a few tests, no goals that need a GPU. Wants a Rust toolchain and Python 3; python3 can be
# another one by PYTHON=.
set -euo pipefail
cd "$(dirname "$0")/../.."

smoke=
if [ "${1:-}" = --smoke ]; then
  smoke=1
  shift
fi
record=${1:-gpu-record.json}
python=${PYTHON:-python3}
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$parts}" # Mesa asks for it on stderr
export CARGO_NET_OFFLINE=true DYCONV_REQUIRE_GPU=1
program=$(cargo metadata --format-version 1 --no-deps | "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/dyconv

step() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }

# Layers at their own batches; those that are also measured at batch 32, the goal's; milliseconds of a row.
if [ "$smoke" ]; then
  tests=device:: own="gpu-64x28 mbv2-dw-960x7" batched= batch=2 time=20
else
  tests= own="gpu resnet18 mbv2" batched="resnet18-64x56 resnet18-256x14" batch=32 time=1000
fi

step "building"
cargo build --release -p dyconv-bench

step "tests"
if cargo test --release --workspace --test gpu -- $tests 2>&1 | tee "$parts/tests.txt"; then passed=true; else passed=false; fi

# The layers of $1, at their own batches or those of $3, into the file $2; activations in $4, f32 if it isn't said.
bench() {
  local layers=${1// /,}
  "$program" bench --workload "$layers" --backend wgpu --layout nchw,nhwc --profile --baseline naive --activations "${4:-f32}" \
    --time "$time" --limit 120 ${3:+--batch "$3"} --json "$parts/$2.json"
}
step "layers"
bench "$own" own
[ -z "$batched" ] || { step "layers, batch $batch"; bench "$batched" batched "$batch"; }

step "layers, activations in f16"
bench "$own" halves "" f16

step "PyTorch"
"$program" workloads "$(echo "$own" | tr ' ' ,)" --json >"$parts/workloads.json"
"$python" dyconv-bench/gpu/torch_layers.py --workloads "$parts/workloads.json" --batch "$batch" --time "$time" \
  --device "$([ "$smoke" ] && echo any || echo cuda)" --out "$parts/torch.json"

step "record"
"$python" dyconv-bench/gpu/record.py --tests-passed "$passed" --commit "$(git rev-parse HEAD 2>/dev/null || true)" \
  --torch "$parts/torch.json" --out "$record" "$parts"/own.json "$parts"/halves.json $([ -z "$batched" ] || echo "$parts/batched.json")
[ "$passed" = true ]
