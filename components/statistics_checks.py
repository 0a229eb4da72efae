"""What DataGate asks of TFDV: anomalies, distances between splits and runs, schemas, odd photos.

Statistics are TFDV's (`FeatureStats.pb` of a split), schemas TFMD's. A distance is the
Jensen-Shannon divergence in bits (0: the same, 1: nothing in common), as TFDV computes it.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.dsl.io import fileio

from components.catalog import SPLITS
from models import examples

SKEW, DRIFT = "skew", "drift"
HISTOGRAM_BUCKETS = 20  # of a numeric feature; more need more photos, fewer see less
# TFDV spreads the buckets of two ranges over each other, so that it compares more of them.
_BUCKETS_COMPARED = 1.5 * HISTOGRAM_BUCKETS
_SIGMAS = 3
# Where a class has about one photo, chance parts two samples by this much more than where it has
# many (measured up to 1.26).
_SPARSE = 1.3


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far the distributions of one feature lie apart.

    Attributes:
      kind: skew, between train and another split; or drift, between two runs' train.
      feature: its name.
      other: the other split, or the other run's data version.
      value: bits, 0 to 1.
      bound: what the schema allows, and what chance does.
      detail: what differs most, for people.
    """

    kind: str
    feature: str
    other: str
    value: float
    bound: float
    detail: str


def statistics_of(uri: str) -> dict[str, Any]:
    """The statistics of every split of an ExampleStatistics artifact."""
    return {
        split: tfdv.load_stats_binary(os.path.join(uri, f"Split-{split}", "FeatureStats.pb"))
        for split in SPLITS
    }


def example_counts(statistics: Mapping[str, Any]) -> dict[str, int]:
    """How many Examples each split has."""
    return {split: int(found.datasets[0].num_examples) for split, found in statistics.items()}


def anomalies(uri: str, view: str, statistics: Mapping[str, Any]) -> list[str]:
    """What ExampleValidator found in each split of a view.

    Args:
      uri: of an ExampleAnomalies artifact.
      view: its name.
      statistics: of each split.
    """
    return [
        f"{view}: {split}: feature {_named(name, info)}: {_described(info)}"
        f"{_measured(info, _feature(statistics[split], _named(name, info)))}"
        for split in SPLITS
        for name, info in sorted(_read(uri, split).anomaly_info.items())
    ]


def _named(name: str, info: Any) -> str:
    return ".".join(info.path.step) or name


def _described(info: Any) -> str:
    """A rule of `schema/rules.pbtxt` by its description, all else by TFDV's.

    A feature that is missing somewhere has no shape, as TFDV says first and at length.
    """
    kinds = anomalies_pb2.AnomalyInfo.Type
    reasons = [reason for reason in info.reason if reason.type != kinds.INVALID_FEATURE_SHAPE]
    said = [
        reason.short_description
        if reason.type == kinds.CUSTOM_VALIDATION
        else reason.description.strip() or reason.short_description
        for reason in reasons or info.reason
    ]
    return "; ".join(said) or str(info.description or info.short_description)


def _measured(info: Any, feature: Any) -> str:
    """What a rule was asked of."""
    custom = anomalies_pb2.AnomalyInfo.Type.CUSTOM_VALIDATION
    if feature is None or all(reason.type != custom for reason in info.reason):
        return ""
    return f" (mean {feature.num_stats.mean:.3f}, median {feature.num_stats.median:.3f})"


def _read(uri: str, split: str) -> Any:
    with fileio.open(os.path.join(uri, f"Split-{split}", "SchemaDiff.pb"), "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


def read_schema(uri: str) -> Any:
    """The schema of a Schema artifact."""
    return tfdv.load_schema_text(os.path.join(uri, "schema.pbtxt"))


def skew(statistics: Mapping[str, Any], schema: Any, sizes: Mapping[str, float]) -> list[Distance]:
    """Compares train with val and with test in every feature that has a `skew_comparator`.

    Args:
      statistics: of each split.
      schema: the curated one; its thresholds are what is allowed on top of chance.
      sizes: how many independent photos each split is worth.
    """
    found = []
    for split in SPLITS[1:]:
        train, other = statistics["train"], statistics[split]
        allowed = _with_chance(schema, SKEW, (train, other), (sizes["train"], sizes[split]))
        measured = tfdv.validate_statistics(train, allowed, serving_statistics=other)
        found += list(_distances(measured, SKEW, split, train, other))
    return found


def drift(now: Any, before: Any, schema: Any, sizes: Sequence[float], name: str) -> list[Distance]:
    """Compares two runs' train splits in every feature that has a `drift_comparator`.

    Args:
      now: statistics of this run's.
      before: of the other's.
      schema: the curated one.
      sizes: how many independent photos each is worth.
      name: of the other's data.
    """
    allowed = _with_chance(schema, DRIFT, (now, before), sizes)
    measured = tfdv.validate_statistics(now, allowed, previous_statistics=before)
    return list(_distances(measured, DRIFT, name, before, now))


def without_pixels(schema: Any) -> Any:
    """The schema without comparators of what depends on the size and the crop of photos."""
    fewer = schema_pb2.Schema()
    fewer.CopyFrom(schema)
    for feature in fewer.feature:
        if feature.name in (examples.BRIGHTNESS, examples.SHARPNESS, examples.SATURATION):
            feature.ClearField("skew_comparator")
            feature.ClearField("drift_comparator")
    return fewer


def _distances(measured: Any, kind: str, other: str, first: Any, second: Any) -> Iterator[Distance]:
    for item in measured.drift_skew_info:
        for found in getattr(item, f"{kind}_measurements"):
            name = ".".join(item.path.step)
            detail = _detail(_feature(first, name), _feature(second, name))
            yield Distance(kind, name, other, found.value, found.threshold, detail)


def _detail(first: Any, second: Any) -> str:
    """The means of a numeric feature, or the class whose share differs most."""
    if first.WhichOneof("stats") == "num_stats":
        return f"mean {first.num_stats.mean:.2f}, then {second.num_stats.mean:.2f}"
    shares = [_shares(feature) for feature in (first, second)]
    one, two = (
        {name: share.get(name, 0.0) for name in {*shares[0], *shares[1]}} for share in shares
    )
    name = max(sorted(one), key=lambda name: abs(one[name] - two[name]))
    return f"most in {name}: {one[name]:.1%}, then {two[name]:.1%}"


def _shares(feature: Any) -> dict[str, float]:
    """The share of each value of a text feature."""
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets) or 1.0
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _with_chance(schema: Any, kind: str, samples: Sequence[Any], sizes: Sequence[float]) -> Any:
    """The schema with what chance does added to every threshold of a kind of comparator.

    Features that a sample lacks, or has no values of, are not compared.
    """
    allowed = schema_pb2.Schema()
    allowed.CopyFrom(schema)
    for feature in allowed.feature:
        classes = [_classes(sample, feature.name) for sample in samples]
        comparator = getattr(feature, f"{kind}_comparator")
        other = {SKEW: "drift_comparator", DRIFT: "skew_comparator"}[kind]
        feature.ClearField(other)
        if not feature.HasField(f"{kind}_comparator"):
            continue
        if any(found is None for found in classes):
            feature.ClearField(f"{kind}_comparator")
            continue
        names = set().union(*(found for found in classes if found))
        number = len(names) if names else _BUCKETS_COMPARED
        allowance = comparator.jensen_shannon_divergence
        allowance.threshold = min(1.0, allowance.threshold + chance(number, *sizes))
    return allowed


def _classes(statistics: Any, name: str) -> set[str] | None:
    """The values of a text feature, none of a numeric one; None when the feature has no values."""
    feature = _feature(statistics, name)
    if feature is None or not _common(feature).num_non_missing:
        return None
    return {bucket.label for bucket in feature.string_stats.rank_histogram.buckets}


def _feature(statistics: Any, name: str) -> Any:
    features = statistics.datasets[0].features
    return next((found for found in features if list(found.path.step) == [name]), None)


def _common(feature: Any) -> Any:
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def chance(classes: float, one: float, other: float) -> float:
    """The divergence that two samples of one distribution seldom exceed, in bits.

    For samples of n and m that fall into k classes, 8 ln 2 / (1/n + 1/m) times the divergence has
    about a chi-squared distribution with k - 1 degrees of freedom (after Menéndez et al., The
    Jensen-Shannon divergence, 1997): its mean, more where classes are sparse, three standard
    deviations, and what its skewness adds (Cornish and Fisher, 1938), which counts where classes
    are few.

    Args:
      classes: k.
      one: n.
      other: m.

    Returns:
      At most 1, which is no bound at all; 1 when a sample is empty.
    """
    if not one or not other:
        return 1.0
    degrees = max(1.0, classes - 1)
    skewness = 2 / 3 * (_SIGMAS**2 - 1)
    seldom = _SPARSE * degrees + _SIGMAS * math.sqrt(2 * degrees) + skewness
    return min(1.0, seldom * (1 / one + 1 / other) / (8 * math.log(2)))


def too_far(view: str, distances: Iterable[Distance]) -> list[str]:
    """The distances beyond their bounds, as sentences."""
    return [
        f"{view}: {found.feature} differs between train and {found.other} by {found.value:.3f} "
        f"(Jensen-Shannon), at most {found.bound:.3f} is allowed; {found.detail}"
        if found.kind == SKEW
        else f"{view}: {found.feature} has drifted by {found.value:.3f} (Jensen-Shannon) from the "
        f"last blessed run's data ({found.other}), at most {found.bound:.3f} is allowed; "
        f"{found.detail}"
        for found in distances
        if found.value > found.bound
    ]


def odd_photos(statistics: Mapping[str, Any], view: str, least: Mapping[str, float]) -> list[str]:
    """About how many photos lie below a bound, by the quantiles of the statistics.

    Args:
      statistics: of each split.
      view: their view.
      least: feature -> the bound.
    """
    words = {
        examples.BRIGHTNESS: "dark", examples.SHARPNESS: "blurred or flat",
        examples.SATURATION: "without colour",
    }  # fmt: skip
    found = []
    for feature, bound in least.items():
        number = round(sum(_below(sample, feature, bound) for sample in statistics.values()))
        if number:
            found.append(
                f"{view}: about {number} photo{'s are' if number > 1 else ' is'} {words[feature]} "
                f"({feature} below {bound:g})"
            )
    return found


def _below(statistics: Any, name: str, bound: float) -> float:
    """About how many values lie below a bound: whole quantile buckets, and a share of one."""
    feature = _feature(statistics, name)
    if feature is None:
        return 0.0
    number = 0.0
    for histogram in feature.num_stats.histograms:
        if histogram.type == histogram.QUANTILES:
            for bucket in histogram.buckets:
                width = bucket.high_value - bucket.low_value
                inside = (bound - bucket.low_value) / width if width else bucket.low_value < bound
                number += bucket.sample_count * min(1.0, max(0.0, float(inside)))
    return number


def schema_differences(curated: Any, proposal: Any) -> list[str]:
    """Where the schema that the data suggest differs from the curated one, feature by feature.

    A curated schema may well say more than one data set shows; this is for people to look at.
    """
    own = {feature.name: feature for feature in curated.feature}
    seen = {feature.name: feature for feature in proposal.feature}
    lines = [f"{name}: not in the data" for name in own if name not in seen]
    lines += [f"{name}: not in the curated schema" for name in seen if name not in own]
    for name in own:
        if name in seen:
            lines += _feature_differences(curated, own[name], proposal, seen[name])
    return lines


def _feature_differences(curated: Any, own: Any, proposal: Any, seen: Any) -> list[str]:
    lines = []
    kind = schema_pb2.FeatureType.Name
    if own.type != seen.type:
        lines.append(f"{own.name}: is {kind(own.type)}, the data have {kind(seen.type)}")
    if (own.presence.min_fraction == 1) != (seen.presence.min_fraction == 1):
        always = ("may be missing", "is required")
        ours, theirs = (always[found.presence.min_fraction == 1] for found in (own, seen))
        lines.append(f"{own.name}: {ours}, by the data it {theirs}")
    known, found = _domain(curated, own), _domain(proposal, seen)
    if known and found and known != found:
        unknown = f", {len(found - known)} unknown" if found - known else ""
        lines.append(f"{own.name}: {len(known)} values, {len(found)} in the data{unknown}")
    return lines


def _domain(schema: Any, feature: Any) -> set[str]:
    """The values of a text feature's domain, none where it has no domain."""
    named = {domain.name: domain for domain in schema.string_domain}
    domain = named.get(feature.domain, feature.string_domain)
    return set(domain.value)
