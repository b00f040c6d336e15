#!/bin/bash
# Trains a grid in one SLURM job, without dask-jobqueue: a scheduler, a Dask worker for each task, and initbench.
#
#     sbatch slurm.sh grid.toml [more of what `initbench run` takes]
#
#SBATCH --job-name=initbench
#SBATCH --output=initbench-%j.log
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=1G
#SBATCH --time=02:00:00
#SBATCH --no-kill
#SBATCH --signal=B:INT@120
#
# A task is a worker; it trains as many stacks at a time as it has CPUs. Add --partition, --account, and a --constraint
# that gives one kind of CPU. --no-kill: a node that fails takes its workers with it, and not the job.
# --signal: two minutes before the time is over initbench is interrupted as by Ctrl-C, and ends in good order.

set -eu
export PYTHONSAFEPATH=1 # import nothing from the folder in which the job is submitted
. "${INITBENCH_ENV:-$HOME/initbench/.venv}/bin/activate"

here=$(mktemp -d "$PWD/.initbench-$SLURM_JOB_ID-XXXX") # on a shared disk; no other user may read it
scheduler=$here/scheduler.json

# Encrypted, with a certificate of this job's own: otherwise any user who reaches the scheduler's port can run code as you.
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=initbench \
  -keyout "$here/key.pem" -out "$here/cert.pem" 2> /dev/null
cat > "$here/tls.yaml" << end
distributed:
  comm:
    default-scheme: tls
    require-encryption: true
    tls:
      ca-file: $here/cert.pem
      scheduler: {cert: $here/cert.pem, key: $here/key.pem}
      worker: {cert: $here/cert.pem, key: $here/key.pem}
      client: {cert: $here/cert.pem, key: $here/key.pem}
end
export DASK_CONFIG=$here

dask scheduler --port 0 --dashboard-address localhost:0 --scheduler-file "$scheduler" > "$here/scheduler.log" 2>&1 &
dask=$!
until [ -s "$scheduler" ]; do
  kill -0 "$dask" || { cat "$here/scheduler.log"; exit 1; }
  sleep 1
done

srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=0 --output="$here/worker-%t.log" \
  dask worker --scheduler-file "$scheduler" --nthreads "$SLURM_CPUS_PER_TASK" --death-timeout 60 \
  --memory-limit "$((SLURM_CPUS_PER_TASK * SLURM_MEM_PER_CPU))MiB" &

echo "Dashboard, at the port below: ssh -N -L 8787:localhost:PORT $(hostname)"
initbench run "$@" --scheduler "file://$scheduler" &
run=$!
trap 'kill -TERM "$run"' INT TERM # not INT, which the shell has programs in the background ignore
status=0
wait "$run" || status=$?
if [ "$status" -gt 128 ]; then # the signal came: this is the status of `wait`, and not yet that of initbench
  status=0
  wait "$run" || status=$?
fi

kill "$dask" || true # the workers end with their scheduler
wait
rm "$here/key.pem"
[ "$status" -ne 0 ] || rm -r "$here" # otherwise the logs of scheduler and workers are left there
exit "$status"
