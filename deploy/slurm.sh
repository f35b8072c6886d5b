#!/usr/bin/env bash
# One search on the nodes of a Slurm allocation:
#
#     sbatch --partition=gpu --account=mine deploy/slurm.sh [SPACE.yaml [options of the search]]
#
# Change the lines that end in CHANGE; what is given to sbatch wins over the #SBATCH lines.
# The project must lie on storage that all nodes share, with its environment in .venv and the
# results in runs/. Shortly before the time limit the search saves itself and the job queues again,
# to go on where it was; after a node's failure or a preemption Slurm queues it again itself.
#
# To stop it for good: scancel JOB. What was saved stays: the same sbatch command goes on from it.
# Its end: 0 done, 1 no trial completed, 2 bad input, 3 stopped by a fault to be mended first.
#
# Ray's dashboard listens on the first node's loopback alone, at the address in the log. To see it,
# bring a token of your own, RAY_AUTH_TOKEN=$(openssl rand -hex 32) sbatch ..., which the dashboard
# will ask for, and:
#     ssh -L 8265:127.0.0.1:8265 NODE
#SBATCH --job-name=wgan
#SBATCH --nodes=2              # CHANGE: machines
#SBATCH --gpus-per-node=1      # CHANGE: GPUs of each; take the line out where there are none
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# Two minutes before the time limit. Not TERM, which scancel sends: that job must not queue again.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=wgan-%j.log
set -euo pipefail

project=${PROJECT:-$HOME/wgan-tuner} # CHANGE: the clone, on storage that all nodes share
search=("${@:-search_spaces/cifar10_resnet.yaml}")

cd "$project"
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# The address by which Slurm itself reaches the first node.
name=$(scontrol show node "${nodes[0]}" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
head_ip=$(getent ahostsv4 "$name" | awk 'NR == 1 {print $1}')
# Of the job's number, so that two jobs on one node do not meet; for port 0 Ray takes a free one.
port=$((20000 + SLURM_JOB_ID % 3000 * 3))

# Ray runs any code that it is sent: without this token, known to this job alone, it takes none.
: "${RAY_AUTH_TOKEN:=$(.venv/bin/python -c 'import secrets; print(secrets.token_hex(32))')}"
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

ray_log=$PWD/wgan-$SLURM_JOB_ID.ray.log
on_node() { # NODE, then what `ray start` is to be given
    srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --nodelist="$1" \
        --output="$ray_log" --open-mode=append \
        .venv/bin/ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" \
        --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 \
        --temp-dir="/tmp/ray-$SLURM_JOB_ID" --disable-usage-stats "${@:2}" &
}

on_node "${nodes[0]}" --head --node-ip-address="$head_ip" --port="$port" \
    --ray-client-server-port=$((port + 1)) --dashboard-port=$((port + 2)) --dashboard-host=127.0.0.1
until .venv/bin/ray health-check --address "$head_ip:$port" 2> /dev/null; do
    kill -0 $! || { echo "Ray did not start: see $ray_log"; exit 1; }
    sleep 1
done
for node in "${nodes[@]:1}"; do
    on_node "$node" --address="$head_ip:$port"
done

.venv/bin/python -m tuner.search "${search[@]}" --address "$head_ip:$port" --resume \
    --set resources.wait_for_nodes_s=300 &
search_pid=$!
queue_again=no
trap 'queue_again=yes; kill -TERM "$search_pid"' USR1 # the time limit is near
trap : TERM # scancel and preemption tell the search themselves; wait for it
while kill -0 "$search_pid" 2> /dev/null; do
    wait "$search_pid" || true # a trap ends it early
done
status=0
wait "$search_pid" || status=$?
if [[ $queue_again == yes && ($status == 130 || $status == 143) ]]; then # 143: it had not begun
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
