set -u
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1
export AISP_QUARANTINE=/tmp/quarantine.yaml
for ch in ch12 ch06 ch01; do
  s=$(date +%s); timeout 170 python3 -m aisp_runner.cli +chapter=$ch verify.phase=gate run_dir=/tmp/$ch > $OUT/$ch.txt 2>&1; echo "$ch rc=$? $(( $(date +%s) - s )) s"; cp /tmp/$ch/records.jsonl $OUT/$ch.jsonl
done
tail -n 60 $OUT/ch12.txt | cut -c1-170
timeout 150 python3 -m tests.attacks.gauntlet --device cuda --lengths 1 --out $OUT/gauntlet.json 2>&1 | cut -c1-330
