"""ExampleValidator: TFX's, whose custom validations are text, as every runner can hand over."""

from typing import Any

from google.protobuf import text_format
from tensorflow_data_validation.anomalies.proto import custom_validation_config_pb2
from tfx import types
from tfx.components.example_validator import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

_RULES = "rules"


class Executor(executor.Executor):
    """TFX's executor, told of the rules as it knows them."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> Any:  # noqa: N802 - TFX's name
        """Validates every split of the statistics against the schema and the rules.

        Raises:
          text_format.ParseError: the rules are no CustomValidationConfig.
        """
        told = dict(exec_properties)
        rules = custom_validation_config_pb2.CustomValidationConfig()
        text_format.Parse(told.pop(_RULES), rules)
        told[standard_component_specs.CUSTOM_VALIDATION_CONFIG_KEY] = rules
        return super().Do(input_dict, output_dict, told)


class _Spec(types.ComponentSpec):
    PARAMETERS = {
        standard_component_specs.EXCLUDE_SPLITS_KEY: component_spec.ExecutionParameter(type=str),
        _RULES: component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.ExampleValidatorSpec.INPUTS
    OUTPUTS = standard_component_specs.ExampleValidatorSpec.OUTPUTS


class ExampleValidator(base_component.BaseComponent):
    """TFX's ExampleValidator.

    Its parameter for custom validations is a protobuf, which no compiled pipeline file can hold.

    Args:
      statistics: of every split.
      schema: the curated one.
      rules: TFDV's CustomValidationConfig, as text.
      code: digest of the code, for the cache.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, statistics: types.BaseChannel, schema: types.BaseChannel, rules: str, code: str
    ):
        spec = _Spec(
            statistics=statistics,
            schema=schema,
            exclude_splits=json_utils.dumps([]),
            rules=rules,
            code=code,
            anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        super().__init__(spec=spec)
