set -u
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1 AISP_QUARANTINE=/tmp/quarantine.yaml
s=$(date +%s)
timeout 215 python3 -m tests.attacks.gauntlet --device cuda --out $OUT/gauntlet.json > $OUT/gauntlet.txt 2>&1
echo "gauntlet $(( $(date +%s) - s )) s"; cut -c1-260 $OUT/gauntlet.txt
for ch in ch12 ch06 ch01; do
  [ $(( $(date +%s) - s )) -lt 330 ] || break
  b=$(date +%s); timeout 100 python3 -m aisp_runner.cli +chapter=$ch verify.phase=gate run_dir=/tmp/$ch > $OUT/$ch.txt 2>&1; echo "$ch rc=$? $(( $(date +%s) - b )) s"; cp /tmp/$ch/records.jsonl $OUT/$ch.jsonl
done
