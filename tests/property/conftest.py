"""One profile for all properties: the same examples in every run, no deadline, a bounded number."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "clusterlink",
    derandomize=True,
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # explaining takes longer than all the rest
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("clusterlink")
