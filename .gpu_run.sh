set -u
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1 AISP_QUARANTINE=/tmp/quarantine.yaml
timeout 370 python3 -m tests.attacks.gauntlet --device cuda --out $OUT/gauntlet.json 2>&1 | cut -c1-330
timeout 205 python3 -m tests.attacks.gauntlet --device cuda --honest 100 --out $OUT/honest.json 2>&1 | cut -c1-330
