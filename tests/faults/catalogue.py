"""All experiments, in the order in which a whole run carries them out."""

from tests.faults.experiments import (
    keys,
    partitions,
    postgres,
    processes,
    providers,
    redis,
    smtp,
    tenants,
)

EXPERIMENTS = {
    experiment.name: experiment
    for module in (processes, redis, postgres, keys, smtp, providers, tenants, partitions)
    for experiment in module.EXPERIMENTS
}
