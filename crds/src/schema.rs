//! Schemas of types that are not ours, written here with the bounds that a CRD needs, and the last
//! touch on the generated ones.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// `metav1.Condition` as a list that is merged by type. Kubernetes' own limits, plus non-empty
/// reasons and the three status values.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "minLength": 1, "maxLength": 63,
                    "description": "What is true or not."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is."},
                "reason": {"type": "string", "minLength": 1, "maxLength": 128,
                    "pattern": "^[A-Za-z][A-Za-z0-9]*$",
                    "description": "Why, as one word for programs."},
                "message": {"type": "string", "maxLength": 4096,
                    "description": "Why, and what to do, for people."},
                "lastTransitionTime": {"type": "string", "format": "date-time",
                    "description": "When the status last changed."},
                "observedGeneration": {"type": "integer", "format": "int64",
                    "description": "The metadata.generation that this condition is about."},
            },
        },
    })
}

/// A quantity of CPU or memory: not negative, no exponents. (`x-kubernetes-int-or-string` stands for
/// the alternative of the two types.)
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maxLength": 24,
        "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
    })
}

/// A number of nodes, or a share from 1% to 100%. The pattern binds the text, the bounds the number.
pub(crate) fn max_unavailable(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 100_000,
        "maxLength": 4,
        "pattern": "^([1-9]|[1-9][0-9]|100)%$",
    })
}

/// A number of nodes from 0, or a share from 1% to 100%.
pub(crate) fn canary_nodes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maximum": 1000,
        "maxLength": 4,
        "pattern": "^([1-9]|[1-9][0-9]|100)%$",
    })
}

/// A number of nodes from 0, or a share from 0% to 100%.
pub(crate) fn max_failures(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maximum": 100_000,
        "maxLength": 4,
        "pattern": "^([0-9]|[1-9][0-9]|100)%$",
    })
}

/// A length of time with these bounds; `field` and `bounds` are for the person who wrote another one.
fn span(field: &str, from: &str, to: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 6,
        "pattern": "^[0-9]{1,5}[smh]$",
        "x-kubernetes-validations": [{
            "rule": format!(
                "!self.matches('^[0-9]{{1,5}}[smh]$') || \
                 (duration(self) >= duration('{from}') && duration(self) <= duration('{to}'))"
            ),
            "message": format!(
                "spec.rollout.{field} must be {from} to {to}, as a whole number of seconds, minutes or \
                 hours, for example 90s or 5m"
            ),
        }],
    })
}

/// How long an agent must have been ready.
pub(crate) fn min_ready(_: &mut SchemaGenerator) -> Schema {
    span("minReady", "0s", "1h")
}

/// After how long a node has failed.
pub(crate) fn deadline(_: &mut SchemaGenerator) -> Schema {
    span("deadline", "10s", "24h")
}

/// How long a canary is watched.
pub(crate) fn soak(_: &mut SchemaGenerator) -> Schema {
    span("canary.soak", "0s", "24h")
}

/// Labels that the nodes of a canary have.
pub(crate) fn canary_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "x-kubernetes-validations": [{
            "rule": "self.all(k, size(k) <= 317)",
            "message": "spec.rollout.canary.nodeSelector: a label's key has at most 317 characters",
        }],
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
    })
}

/// When a rollout began.
pub(crate) fn started_at(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time",
        "description": "When it began."})
}

/// Since when a node fails.
pub(crate) fn since(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "description": "Since when."})
}

/// Labels of nodes: as many as anyone selects by, each value a label value.
pub(crate) fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "x-kubernetes-validations": [{
            "rule": "self.all(k, size(k) <= 317)",
            "message": "spec.placement.nodeSelector: a label's key has at most 317 characters",
        }, {
            "rule": "!('kubernetes.io/os' in self) || self['kubernetes.io/os'] == 'linux'",
            "message": "spec.placement.nodeSelector: plugins run on Linux nodes only",
        }],
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
    })
}

/// How a toleration compares.
pub(crate) fn toleration_operator(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Exists", "Equal"]})
}

/// What a taint does.
pub(crate) fn taint_effect(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]})
}

/// A point in time with as many digits as the writer has.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40})
}

/// Takes out what the derive adds for optional fields and Kubernetes handles better without:
/// `nullable` keeps a written `null` in the object, where `has()` in a rule finds it; without it the
/// API server drops such a `null`.
pub(crate) fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A property may be called "nullable"; only the boolean keyword is meant.
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Gives a `status` that has an `observedGeneration` a default, so that tools which read "no status"
/// as "done" wait for the operator.
pub(crate) fn default_status(schema: &mut Value) {
    if let Some(status) = schema.pointer_mut("/properties/status")
        && status.pointer("/properties/observedGeneration").is_some()
    {
        status["default"] = json!({"observedGeneration": -1});
    }
}

/// Writes whole numbers as such: bounds are floating-point in the typed schema.
pub(crate) fn whole_numbers(value: &mut Value) {
    /// Up to here every whole number is exact as a floating-point one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && number.is_f64()
                && float.fract() == 0.0
                && float.abs() < EXACT
            {
                *value = json!(float as i64);
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        _ => {}
    }
}
