//! Which replica of the service leads, as the cluster tells it.

use anyhow::Context;

use crate::kubectl::Kubectl;
use crate::product::SYSTEM;

/// The pod that is published as the address of the service.
pub(super) fn active(kubectl: &Kubectl) -> anyhow::Result<Option<(String, String)>> {
    let of_service = "kubernetes.io/service-name=scope-totals";
    let slices = kubectl.json(&["get", "endpointslices", "-n", SYSTEM, "-l", of_service])?;
    let endpoint = &slices["items"][0]["endpoints"][0];
    let name = endpoint["targetRef"]["name"].as_str();
    let address = endpoint["addresses"][0].as_str();
    Ok(name
        .zip(address)
        .map(|(name, address)| (name.to_owned(), address.to_owned())))
}

/// Who has the Lease: the name of a pod and a number of the process.
pub(super) fn holder(kubectl: &Kubectl) -> anyhow::Result<String> {
    let lease = kubectl.json(&["get", "lease", "scope-totals", "-n", SYSTEM])?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    Ok(holder.unwrap_or_default().to_owned())
}

/// When the Lease was renewed last.
pub(super) fn renewed(kubectl: &Kubectl) -> anyhow::Result<String> {
    let lease = kubectl.json(&["get", "lease", "scope-totals", "-n", SYSTEM])?;
    let renewed = lease["spec"]["renewTime"].as_str();
    Ok(renewed.unwrap_or_default().to_owned())
}

/// How many agents have lately reported to this replica; or why that cannot be asked at present.
pub(super) fn agents_of(kubectl: &Kubectl, pod: &str) -> anyhow::Result<Result<usize, String>> {
    const NAME: &str = "scope_totals_agents ";
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics");
    let metrics = match kubectl.ok(&["get", "--raw", &path]) {
        Ok(metrics) => metrics,
        Err(error) => return Ok(Err(format!("{error:#}"))),
    };
    let value = metrics.lines().find_map(|line| line.strip_prefix(NAME));
    let value = value.with_context(|| format!("{pod} tells {NAME}"))?;
    let agents = value.parse();
    agents
        .map(Ok)
        .with_context(|| format!("{pod} has {value:?} agents"))
}
