"""Run studies on SLURM: ``python deploy/slurm.py accuracy_alie --output my-results``.

Takes the options of ``python -m studies.reproduce``. Needs ``pip install dask-jobqueue``, this
package in a folder that all machines share, and the certificates of deploy/by_hand.md in it. Not
run where this was written: look at what it submits with ``--show-job`` first.
"""

import sys
from pathlib import Path

PROCESSES = 32
MEMORY = "4GB"  # a process; see the last column of python -m studies.reproduce --plan
INTERFACE = "ib0"  # the private network of the machines
DIRECTIVES = ["--partition=short", "--time=02:00:00"]  # a GPU each: "--gres=gpu:1", and below
RESOURCES: list[str] = []  # a GPU each: ["--resources", "GPU=1"]
CERTIFICATES = Path.home() / "detox-certificates"
ENVIRONMENT = [
    "export MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_ARENA_MAX=1",
    "export OMP_WAIT_POLICY=PASSIVE",
]


def main(arguments: list[str]) -> int:
    """Start processes as jobs, run the studies on them, end the jobs."""
    from dask_jobqueue import SLURMCluster
    from distributed import Security

    from studies import reproduce

    ca, cert, key = (str(CERTIFICATES / name) for name in ("ca.pem", "cluster.pem", "cluster.key"))
    security = Security(
        tls_ca_file=ca,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
        tls_client_cert=cert,
        tls_client_key=key,
        require_encryption=True,
    )
    with SLURMCluster(
        cores=1,
        processes=1,
        memory=MEMORY,
        interface=INTERFACE,
        protocol="tls://",
        security=security,
        job_script_prologue=ENVIRONMENT,
        job_extra_directives=DIRECTIVES,
        worker_extra_args=["--dashboard-address", "127.0.0.1:0", *RESOURCES],
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        if "--show-job" in arguments:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=PROCESSES)
        cluster.wait_for_workers(1)
        files = ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]
        return reproduce.main([*arguments, "--scheduler", cluster.scheduler_address, *files])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
