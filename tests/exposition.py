"""What `/metrics` says, as a test reads it."""

from prometheus_client.parser import text_string_to_metric_families

from tests.service import Service

Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(service: Service) -> Metrics:
    """Return the value of each sample, by its name and its labels."""
    answer = await service.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the sum of the samples of this name with at least these labels."""
    wanted = set(labels.items())
    return sum(found for (other, having), found in metrics.items() if other == name and wanted <= having)
