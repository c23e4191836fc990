//! From a click that is admitted to its one request: find the object, judge it, note that it is about to
//! happen, and do it to exactly what was judged.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, batch::v1::Job};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::{ApiResource, DynamicObject, Status},
};
use scope_crds::{AgentSpec, ScopeAction, TargetKind};
use serde_json::json;

use super::{
    actor::{Actor, Done, Left, REQUEST, words},
    decide::{self, Outcome},
    deed::{self, Deed, Way},
    target::{Place, Seen, is_target, resource},
};
use crate::{
    guarded::{self, RequestError},
    names::manager,
};

/// The object may change between the look at it and the request, as its status does; so often it is
/// looked at again.
const LOOKS: usize = 4;
/// Autoscalers that are asked for at once, and so many times: no namespace has 10,000 of them.
const PAGE: u32 = 500;
const PAGES: usize = 20;

impl Actor {
    /// Does what was asked for, once.
    pub(super) async fn act(&self, action: &ScopeAction, agent: &AgentSpec) -> Result<Done, Left> {
        let mut seen = self.look_up(action).await?;
        let mut noted = false;
        for _ in 0..LOOKS {
            let about = |outcome| {
                Left::Ended(Done {
                    outcome,
                    seen: Some(seen.clone()),
                    at: None,
                })
            };
            decide::judge(&seen, agent, &self.settings).map_err(about)?;
            let scaler = match deed::scales(action.spec.control) {
                true => self.scaler_of(&seen).await?,
                false => None,
            };
            let deed = deed::deed(action, &seen, scaler.as_deref(), Timestamp::now());
            let deed = deed.map_err(about)?;
            if !noted {
                self.note_begin(action, &seen).await?;
                noted = true;
            }
            // The last look at the clock; the claim is looked at by the write itself.
            let Some(left) = decide::left(action, Timestamp::now()) else {
                return Err(about(Outcome::expired(&action.spec)));
            };
            let Err(error) = self.send(&seen, &deed.way, left).await else {
                return Ok(Done {
                    outcome: Outcome::succeeded(deed.said),
                    seen: Some(seen),
                    at: None,
                });
            };
            if matches!(error, RequestError::NotLeading(_)) {
                return Err(Left::ToOthers);
            }
            let gone = || Outcome::failed(format!("{} was gone already", seen.in_words()));
            let there = match error.status() {
                Some(status) if status.is_not_found() => return Err(about(gone())),
                Some(status) if forbidden_by_budget(status) => {
                    let outcome = Outcome::refused(in_the_way(&seen, status));
                    return Err(about(outcome));
                }
                Some(status) if status.is_already_exists() => {
                    return self.as_it_is(&seen, &deed, &error).await;
                }
                // It changed since it was judged: judge it again.
                Some(status) if status.is_conflict() => self.read(seen.kind, &seen.place()).await?,
                Some(_) => return Err(about(Outcome::failed(words(&error)))),
                // Whether the request arrived is not known: the object tells.
                None => return self.as_it_is(&seen, &deed, &error).await,
            };
            match there {
                Some(there) if there.uid() == seen.uid() => seen = there,
                // Another object of that name is another object.
                _ => return Err(about(gone())),
            }
        }
        let message = format!(
            "{} changes too fast for this to be done safely",
            seen.in_words()
        );
        Err(Left::Ended(Done {
            outcome: Outcome::failed(message),
            seen: Some(seen),
            at: None,
        }))
    }

    /// The object with the UID of the action, as it is now.
    async fn look_up(&self, action: &ScopeAction) -> Result<Seen, Left> {
        let target = &action.spec.target;
        let place = match target.kind {
            TargetKind::Node => {
                let Some(left) = decide::left(action, Timestamp::now()) else {
                    return Err(Outcome::expired(&action.spec).into());
                };
                let known = self.known.nodes.wait_until_ready();
                match tokio::time::timeout(left, known).await {
                    Ok(Ok(())) => self.node(&target.uid),
                    Ok(Err(_)) | Err(_) => return Err(Outcome::expired(&action.spec).into()),
                }
            }
            kind => {
                let Some(index) = self.known.indexes.get(&kind) else {
                    // What is allowed decides on both.
                    return Err(Outcome::refused(format!(
                        "This installation allows no action on a {kind} (chart value actions.allowed)"
                    ))
                    .into());
                };
                let Some(left) = decide::left(action, Timestamp::now()) else {
                    return Err(Outcome::expired(&action.spec).into());
                };
                if tokio::time::timeout(left, index.filled()).await.is_err() {
                    return Err(Outcome::expired(&action.spec).into());
                }
                index.find(&target.uid)
            }
        };
        let seen = match place {
            Some(place) => self.read(target.kind, &place).await?,
            None => None,
        };
        seen.filter(|seen| is_target(seen.metadata(), &target.uid))
            .ok_or_else(|| {
                Outcome::failed(format!(
                    "There is no {} with the UID {}, or none that the operator has heard of yet",
                    target.kind, target.uid
                ))
                .into()
            })
    }

    fn node(&self, uid: &str) -> Option<Place> {
        let nodes = self.known.nodes.state();
        let mut nodes = nodes.iter();
        let found = nodes.find(|node| node.uid().as_deref() == Some(uid))?;
        Some(Place {
            namespace: String::new(),
            name: found.name_any(),
        })
    }

    /// The object of this kind and name, if there is one.
    pub(super) async fn read(
        &self,
        kind: TargetKind,
        place: &Place,
    ) -> Result<Option<Seen>, RequestError> {
        let object = guarded::read(
            || format!("reading {kind} {}", place.name),
            REQUEST,
            place.api(&self.client, kind).get_opt(&place.name),
        )
        .await?;
        Ok(object.map(|object| Seen::new(kind, object)))
    }

    /// The autoscaler that decides on the replicas of this object.
    async fn scaler_of(&self, seen: &Seen) -> Result<Option<String>, RequestError> {
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.client.clone(), seen.namespace());
        let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
        let wanted = group(&resource(seen.kind).api_version);
        let mut params = ListParams::default().limit(PAGE);
        for _ in 0..PAGES {
            let page = guarded::read(
                || format!("looking for autoscalers of {}", seen.in_words()),
                REQUEST,
                api.list(&params),
            )
            .await?;
            let found = page.items.iter().find(|scaler| {
                scaler.spec.as_ref().is_some_and(|spec| {
                    let target = &spec.scale_target_ref;
                    target.kind == seen.kind.as_str()
                        && target.name == seen.name()
                        && target.api_version.as_deref().and_then(group) == wanted
                })
            });
            if let Some(found) = found {
                return Ok(Some(found.name_any()));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        Ok(None)
    }

    async fn send(&self, seen: &Seen, way: &Way, left: Duration) -> Result<(), RequestError> {
        let object = seen.in_words();
        let name = seen.name();
        let limit = REQUEST.min(left);
        let preconditions = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(seen.uid().to_owned()),
                resource_version: seen.resource_version().map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        let api = seen.place().api(&self.client, seen.kind);
        match way {
            Way::Delete => {
                let request = api.delete(name, &preconditions);
                let what = || format!("deleting {object}");
                guarded::write(&self.claim, what, limit, request).await?;
            }
            Way::Evict => {
                // Not `Api::evict`, which of kube 5.0 names the field `delete_options`: the API server ignores
                // that, and with it the preconditions.
                // By the UID alone: the disruption budget is charged before the version is compared, and
                // nothing by which the pod was judged changes in its life.
                let preconditions = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: Some(seen.uid().to_owned()),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                let eviction = json!({
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": name, "namespace": seen.namespace()},
                    "deleteOptions": preconditions,
                });
                let params = PostParams::default();
                let request =
                    api.create_subresource::<_, Status>("eviction", name, &params, &eviction);
                let what = || format!("evicting {object}");
                guarded::write(&self.claim, what, limit, request).await?;
            }
            Way::Merge { subresource, body } => {
                let mut body = body.clone();
                body["metadata"] =
                    json!({"uid": seen.uid(), "resourceVersion": seen.resource_version()});
                let params = PatchParams {
                    field_manager: Some(manager::ACTION.into()),
                    ..PatchParams::default()
                };
                let what = || format!("changing {object}");
                let patch = Patch::Merge(&body);
                match subresource {
                    None => {
                        let request = api.patch(name, &params, &patch);
                        guarded::write(&self.claim, what, limit, request).await?;
                    }
                    Some(subresource) => {
                        let request = api.patch_subresource(subresource, name, &params, &patch);
                        guarded::write(&self.claim, what, limit, request).await?;
                    }
                }
            }
            Way::MakeJob { job, name } => {
                // As it stands in the CronJob, fields that this version does not know included.
                let resource = ApiResource::erase::<Job>(&());
                let jobs: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), seen.namespace(), &resource);
                let params = PostParams {
                    field_manager: Some(manager::ACTION.into()),
                    ..PostParams::default()
                };
                let what = || format!("making Job {name}");
                guarded::write(&self.claim, what, limit, jobs.create(&params, job)).await?;
            }
        }
        Ok(())
    }

    /// What came of a deed whose request ended in `error`, as far as the object tells.
    async fn as_it_is(&self, seen: &Seen, deed: &Deed, error: &RequestError) -> Result<Done, Left> {
        let done = self.is_done(seen, deed).await.unwrap_or(false);
        let outcome = match done {
            true => Outcome::succeeded(deed.said.clone()),
            false => Outcome::failed(words(error)),
        };
        let ended = Done {
            outcome,
            seen: Some(seen.clone()),
            at: None,
        };
        if done {
            Ok(ended)
        } else {
            Err(Left::Ended(ended))
        }
    }

    /// Whether the deed was done, as far as the object tells.
    async fn is_done(&self, seen: &Seen, deed: &Deed) -> Result<bool, RequestError> {
        if let Way::MakeJob { name, .. } = &deed.way {
            return self.is_made(seen, name).await;
        }
        let there = self.read(seen.kind, &seen.place()).await?;
        let there = there.filter(|there| there.uid() == seen.uid());
        Ok(match (&deed.way, there) {
            (Way::Delete | Way::Evict, there) => there.is_none_or(|there| there.is_going()),
            (Way::Merge { body, .. }, Some(there)) => there.has(body),
            (Way::Merge { .. } | Way::MakeJob { .. }, _) => false,
        })
    }

    /// Whether this Job of this CronJob is there.
    async fn is_made(&self, seen: &Seen, name: &str) -> Result<bool, RequestError> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), seen.namespace());
        let what = || format!("reading Job {name}");
        let job = guarded::read(what, REQUEST, jobs.get_metadata_opt(name)).await?;
        Ok(job.is_some_and(|job| {
            let mut owners = job.owner_references().iter();
            owners.any(|owner| owner.uid == seen.uid())
        }))
    }
}

/// The reason that an eviction's refusal has for a disruption budget.
const BY_BUDGET: &str = "DisruptionBudget";

fn forbidden_by_budget(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| &details.causes);
    status.code == 429
        && causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == BY_BUDGET))
}

/// The API server's words about the budget, which name it.
fn in_the_way(seen: &Seen, status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let words: Vec<_> = causes
        .filter(|cause| cause.reason == BY_BUDGET)
        .map(|cause| cause.message.as_str())
        .collect();
    format!("{} is not evicted: {}", seen.in_words(), words.join("; "))
}
