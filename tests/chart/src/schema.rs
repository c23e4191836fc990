//! values.schema.json from the comments of values.yaml.

use anyhow::{bail, ensure};
use serde_json::{Map, Value as Json, json};

use crate::values::{Value, Values};

/// The schema of all values. It refuses what values.yaml does not know.
///
/// # Errors
/// When neither the comment nor the default says of which type a value is, or a shape is used that is
/// not defined.
pub fn of(values: &Values) -> anyhow::Result<Json> {
    let mut top = object();
    for value in &values.all {
        let mut place = &mut top;
        let (last, groups) = match value.path.split_last() {
            Some(parts) => parts,
            None => bail!("a value without a name"),
        };
        for group in groups {
            require(place, group, true);
            place = properties(place)
                .entry(group.clone())
                .or_insert_with(|| Json::Object(object()))
                .as_object_mut()
                .ok_or_else(|| anyhow::anyhow!("{} is inside of a value", value.name()))?;
        }
        require(place, last, !value.optional);
        properties(place).insert(last.clone(), Json::Object(one(value, values)?));
    }
    properties(&mut top).insert(
        "global".to_owned(),
        json!({"type": "object", "description": "Set by Helm when this chart is part of another one; not used."}),
    );
    top.insert(
        "$schema".to_owned(),
        "http://json-schema.org/draft-07/schema#".into(),
    );
    top.insert(
        "title".to_owned(),
        "Values of the chart scope-plugins".into(),
    );
    top.insert(
        "definitions".to_owned(),
        values
            .shapes
            .clone()
            .into_iter()
            .collect::<Map<_, _>>()
            .into(),
    );
    Ok(sorted(Json::Object(top)))
}

fn one(value: &Value, values: &Values) -> anyhow::Result<Map<String, Json>> {
    let mut schema = value.schema.clone();
    for used in references(&Json::Object(schema.clone()))
        .into_iter()
        .chain(values.shapes.values().flat_map(references))
    {
        let known = used
            .strip_prefix("#/definitions/")
            .is_some_and(|name| values.shapes.contains_key(name));
        ensure!(known, "{}: {used} is not defined", value.name());
    }
    let says = ["type", "enum", "$ref"]
        .iter()
        .any(|key| schema.contains_key(*key));
    if !says {
        let kind = match &value.default {
            Json::Bool(_) => "boolean",
            Json::String(_) => "string",
            Json::Number(number) if number.is_i64() => "integer",
            _ => bail!(
                "{}: the default does not say the whole type; add a @schema",
                value.name()
            ),
        };
        schema.insert("type".to_owned(), kind.into());
    }
    schema.insert("description".to_owned(), value.text.clone().into());
    Ok(schema)
}

fn references(schema: &Json) -> Vec<String> {
    match schema {
        Json::Object(map) => map
            .iter()
            .flat_map(|(key, inner)| match (key.as_str(), inner) {
                ("$ref", Json::String(target)) => vec![target.clone()],
                _ => references(inner),
            })
            .collect(),
        Json::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn object() -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("type".to_owned(), "object".into());
    object.insert("additionalProperties".to_owned(), false.into());
    object.insert("properties".to_owned(), Json::Object(Map::new()));
    object
}

fn properties(object: &mut Map<String, Json>) -> &mut Map<String, Json> {
    let properties = object
        .entry("properties")
        .or_insert_with(|| Json::Object(Map::new()));
    match properties {
        Json::Object(map) => map,
        _ => unreachable!("`object` makes it a map and nothing else replaces it"),
    }
}

fn require(object: &mut Map<String, Json>, key: &str, required: bool) {
    if !required {
        return;
    }
    let list = object
        .entry("required")
        .or_insert_with(|| Json::Array(Vec::new()));
    if let Json::Array(list) = list
        && !list.iter().any(|known| known == key)
    {
        list.push(key.into());
    }
}

/// Keys in the order of the alphabet, however serde_json was built: another package of the workspace may
/// have it keep the order in which they came.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut pairs: Vec<_> = map.into_iter().collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(pairs.into_iter().map(|(k, v)| (k, sorted(v))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::parse;

    #[test]
    fn types_come_from_defaults_and_the_rest_from_comments() {
        let values = parse(
            "# @define names {\"type\": \"array\"}\n\
             a:\n  # -- One.\n  # @schema {\"minimum\": 1}\n  b: 2\n  # -- Two.\n  # @optional\n  c: \"\"\n\
             # -- Three.\n# @schema {\"$ref\": \"#/definitions/names\"}\nd: []\n",
        )
        .unwrap();
        let schema = of(&values).unwrap();
        assert_eq!(schema["required"], json!(["a", "d"]));
        assert_eq!(schema["additionalProperties"], false);
        let a = &schema["properties"]["a"];
        assert_eq!(a["required"], json!(["b"]));
        assert_eq!(a["additionalProperties"], false);
        let b = json!({"description": "One.", "minimum": 1, "type": "integer"});
        assert_eq!(a["properties"]["b"], b);
        assert_eq!(a["properties"]["c"]["type"], "string");
        assert_eq!(schema["definitions"]["names"]["type"], "array");
    }

    #[test]
    fn a_type_that_nobody_says_is_an_error() {
        for (source, words) in [
            ("# -- A.\na: []\n", "a: the default does not say"),
            (
                "# -- A.\n# @schema {\"$ref\": \"#/definitions/x\"}\na: []\n",
                "#/definitions/x is not defined",
            ),
        ] {
            let error = of(&parse(source).unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
