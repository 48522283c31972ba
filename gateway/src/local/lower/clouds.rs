//! Providers of language models whose place depends on whose they are: Bedrock, Azure, Vertex.

use ir::AiKeyPlace;
use protocols::llm::Operation;

use crate::local::document as doc;

/// Where such a provider is, and what it understands there.
pub(super) struct Placed {
    pub(super) system: &'static str,
    pub(super) key: AiKeyPlace,
    pub(super) origin: String,
    pub(super) base: String,
    pub(super) formats: Vec<(Operation, String)>,
    /// Requests are signed for this region of AWS, unless a policy says otherwise.
    pub(super) region: Option<String>,
}

/// What stands in a name of a host or in a path, and nothing that ends it.
fn plain(key: &str, text: &str) -> Result<(), String> {
    let may = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | ':');
    match !text.is_empty() && text.chars().all(may) {
        true => Ok(()),
        false => Err(format!("`{key}` is letters, digits, `-`, `_`, `.` and `:`, and `{text}` is not")),
    }
}

/// The provider of this name in the shorthand `llm`, where it is one of these.
/// `asked` is what it is asked for by.
pub(super) fn of(name: &str, asked: &str, params: &doc::LlmParams) -> Option<Result<Placed, String>> {
    let needed = |key: &str, it: &Option<String>| it.clone().ok_or_else(|| format!("`{name}` needs `{key}`"));
    let model = None;
    Some(match name {
        "bedrock" => needed("awsRegion", &params.aws_region).and_then(|region| {
            bedrock(&doc::AiBedrock { model, region, guardrail_identifier: None, guardrail_version: None })
        }),
        "azure" => needed("azureResourceName", &params.azure_resource_name).and_then(|resource_name| {
            azure(&doc::AiAzure {
                model,
                resource_name,
                resource_type: params.azure_resource_type.unwrap_or_default(),
                api_version: params.azure_api_version.clone(),
                project_name: params.azure_project_name.clone(),
            })
        }),
        "vertex" => needed("vertexProject", &params.vertex_project).and_then(|project_id| {
            let model = params.model.clone().or_else(|| Some(asked.to_owned()));
            vertex(&doc::AiVertex { model, region: params.vertex_region.clone(), project_id })
        }),
        _ => return None,
    })
}

pub(super) fn bedrock(it: &doc::AiBedrock) -> Result<Placed, String> {
    let doc::AiBedrock { model: _, region, guardrail_identifier, guardrail_version } = it;
    if guardrail_identifier.is_some() || guardrail_version.is_some() {
        return Err("guardrails of Bedrock are not supported by this version yet".to_owned());
    }
    plain("region", region)?;
    Ok(Placed {
        system: "aws.bedrock",
        key: AiKeyPlace::Authorization,
        origin: format!("https://bedrock-runtime.{region}.amazonaws.com"),
        base: String::new(),
        formats: vec![(Operation::Converse, "/model/{model}/{action}".to_owned())],
        region: Some(region.clone()),
    })
}

pub(super) fn azure(it: &doc::AiAzure) -> Result<Placed, String> {
    let doc::AiAzure { model: _, resource_name, resource_type, api_version, project_name } = it;
    plain("resourceName", resource_name)?;
    api_version.iter().try_for_each(|it| plain("apiVersion", it))?;
    project_name.iter().try_for_each(|it| plain("projectName", it))?;
    let foundry = *resource_type == doc::AiAzureKind::Foundry;
    let before = project_name.as_ref().filter(|_| foundry).map(|it| format!("/api/projects/{it}"));
    let base = format!("{}/openai/v1", before.unwrap_or_default());
    let below = |path: &str| format!("{base}{path}");
    let mut formats = match api_version.as_deref().filter(|it| *it != "v1") {
        None => vec![
            (Operation::Completions, below("/chat/completions")),
            (Operation::Responses, below("/responses")),
            (Operation::Embeddings, below("/embeddings")),
            (Operation::Realtime, below("/realtime")),
        ],
        // Before that a model was asked by the name of its deployment, in the path.
        Some(date) => {
            let deployment = |path: &str| format!("/openai/deployments/{{model}}/{path}?api-version={date}");
            vec![
                (Operation::Completions, deployment("chat/completions")),
                (Operation::Responses, format!("/openai/responses?api-version={date}")),
                (Operation::Embeddings, deployment("embeddings")),
                (Operation::Realtime, format!("/openai/realtime?api-version={date}&deployment={{model}}")),
            ]
        }
    };
    if foundry {
        formats.push((Operation::Messages, "/anthropic/v1/messages".to_owned()));
        formats.push((Operation::CountTokens, "/anthropic/v1/messages/count_tokens".to_owned()));
    }
    let domain = if foundry { "services.ai.azure.com" } else { "openai.azure.com" };
    Ok(Placed {
        system: "azure.ai.openai",
        key: AiKeyPlace::ApiKey,
        origin: format!("https://{resource_name}.{domain}"),
        base,
        formats,
        region: None,
    })
}

/// What names of Anthropic's models begin with.
const CLAUDE: &str = "claude";

/// Whose the model is decides what is spoken: the dialects of Google and of Anthropic both live there.
pub(super) fn vertex(it: &doc::AiVertex) -> Result<Placed, String> {
    let doc::AiVertex { model, region, project_id } = it;
    plain("projectId", project_id)?;
    region.iter().try_for_each(|it| plain("region", it))?;
    let location = region.as_deref().unwrap_or("global");
    let host = match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    let base = format!("/v1/projects/{project_id}/locations/{location}");
    let formats = match model.as_deref().is_some_and(|it| it.starts_with(CLAUDE)) {
        true => {
            let models = format!("{base}/publishers/anthropic/models");
            vec![
                (Operation::Messages, format!("{models}/{{model}}:{{action}}")),
                (Operation::CountTokens, format!("{models}/count-tokens:rawPredict")),
            ]
        }
        false => {
            let model = format!("{base}/publishers/google/models/{{model}}:{{action}}");
            vec![(Operation::GenerateContent, model.clone()), (Operation::GeminiCountTokens, model)]
        }
    };
    Ok(Placed {
        system: "gcp.vertex_ai",
        key: AiKeyPlace::Authorization,
        origin: format!("https://{host}"),
        formats,
        base,
        region: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_follow_from_the_account() {
        let bedrock = bedrock(&doc::AiBedrock { region: "eu-central-1".into(), ..doc::AiBedrock::default() }).ok();
        let bedrock = bedrock.unwrap();
        assert_eq!(bedrock.origin, "https://bedrock-runtime.eu-central-1.amazonaws.com");
        assert_eq!(bedrock.region.as_deref(), Some("eu-central-1"));
        let terms = |foundry| doc::AiAzure {
            resource_name: "r".into(),
            resource_type: if foundry { doc::AiAzureKind::Foundry } else { doc::AiAzureKind::OpenAi },
            project_name: Some("p".into()),
            ..doc::AiAzure::default()
        };
        let plain = azure(&terms(false)).ok().unwrap();
        let place = (plain.origin.as_str(), plain.formats[0].1.as_str());
        assert_eq!(place, ("https://r.openai.azure.com", "/openai/v1/chat/completions"));
        let foundry = azure(&terms(true)).ok().unwrap();
        let place = (foundry.origin.as_str(), foundry.formats[1].1.as_str());
        assert_eq!(place, ("https://r.services.ai.azure.com", "/api/projects/p/openai/v1/responses"));
        let dated = doc::AiAzure { api_version: Some("2024-10-21".into()), ..terms(false) };
        let dated = azure(&dated).ok().unwrap();
        let path = "/openai/deployments/{model}/chat/completions?api-version=2024-10-21";
        assert_eq!(dated.formats[0].1, path);
        for (model, kind, path) in [
            ("gemini-3-pro", Operation::GenerateContent, "google/models/{model}:{action}"),
            ("claude-*", Operation::Messages, "anthropic/models/{model}:{action}"),
        ] {
            let terms = doc::AiVertex { model: Some(model.into()), region: None, project_id: "p".into() };
            let placed = vertex(&terms).ok().unwrap();
            let format = (placed.formats[0].0, placed.formats[0].1.as_str());
            assert_eq!(format, (kind, format!("/v1/projects/p/locations/global/publishers/{path}").as_str()));
        }
        for (region, host) in [
            (None, "https://aiplatform.googleapis.com"),
            (Some("eu"), "https://aiplatform.eu.rep.googleapis.com"),
            (Some("us-east4"), "https://us-east4-aiplatform.googleapis.com"),
        ] {
            let terms = doc::AiVertex { region: region.map(str::to_owned), project_id: "p".into(), model: None };
            assert_eq!(vertex(&terms).ok().unwrap().origin, host);
        }
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        for region in ["", "a/b", "a@b", "x?y"] {
            let terms = doc::AiBedrock { region: region.into(), ..doc::AiBedrock::default() };
            assert!(bedrock(&terms).is_err(), "{region}");
        }
        let terms =
            doc::AiAzure { resource_name: "r".into(), api_version: Some("2024&x=y".into()), ..doc::AiAzure::default() };
        assert!(azure(&terms).is_err_and(|it| it.contains("apiVersion")));
    }
}
