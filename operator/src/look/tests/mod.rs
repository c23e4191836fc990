//! Looks against an API server in memory, with caches that may be behind it.

mod api;

use std::{fmt::Debug, hash::Hash};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Resource,
    runtime::{
        reflector::{self, store::Writer as Cache},
        watcher::Event,
    },
};
use scope_totals_wire::{Fleet, PluginHealth};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{
    leader,
    rollout::{Record, Run, Stage},
    seen::SeenPod,
    settings::Totals,
    testing,
};

const DAEMON_SET: &str = "daemonsets/scope-plugin-a";
const RECORD: &str = "configmaps/scope-plugin-a";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

struct Given {
    context: Context,
    world: Arc<Mutex<api::World>>,
    daemon_sets: Cache<DaemonSet>,
    accounts: Cache<PartialObjectMeta<ServiceAccount>>,
    nodes: Cache<SeenNode>,
    pods: (Cache<SeenPod>, Store<SeenPod>),
    revisions: Cache<ControllerRevision>,
    records: Cache<ConfigMap>,
    claim: leader::ClaimWriter,
}

fn plugin(spec: Value) -> ScopePlugin {
    testing::plugin("a", spec)
}

fn plain() -> ScopePlugin {
    plugin(json!({"agent": {}, "rollout": {"canary": {"nodes": 0}, "minReady": "0s"}}))
}

/// What the plugin wanted before.
fn before() -> ScopePlugin {
    plugin(
        json!({"agent": {}, "placement": {"priorityClassName": "low"}, "rollout": {"minReady": "0s"}}),
    )
}

fn id(plugin: &ScopePlugin) -> String {
    Revision::wanted(plugin, &testing::settings()).id
}

/// A replica that leads, three nodes, and nothing else.
fn given() -> Given {
    let world = Arc::<Mutex<api::World>>::default();
    let client = api::client(&world);
    let (claim_writer, claim) = leader::claim();
    lead(&claim_writer);
    let metrics = Arc::new(Metrics::new());
    let (plugins, _) = reflector::store();
    let (daemon_sets_store, daemon_sets) = reflector::store();
    let (accounts_store, accounts) = reflector::store();
    let (nodes_store, nodes) = reflector::store();
    let (pods_store, pods) = reflector::store();
    let (revisions_store, revisions) = reflector::store();
    let (records_store, records) = reflector::store();
    let context = Context {
        settings: testing::settings(),
        writer: Writer {
            client: client.clone(),
            claim,
            namespace: "scope-plugins".into(),
            metrics: Arc::clone(&metrics),
        },
        plugins,
        daemon_sets: daemon_sets_store,
        service_accounts: accounts_store,
        nodes: nodes_store,
        pods: Pods::default(),
        revisions: revisions_store,
        records: records_store,
        events: Events::new(client, "test", Arc::clone(&metrics)),
        refusals: Refusals::new(Arc::clone(&metrics)),
        board: Arc::default(),
        metrics,
        readiness: Arc::new(Readiness::new(&[])),
        memory: Mutex::default(),
        plugins_edition: Edition::default(),
        nodes_edition: Edition::default(),
    };
    let mut given = Given {
        context,
        world,
        daemon_sets,
        accounts,
        nodes,
        pods: (pods, pods_store),
        revisions,
        records,
        claim: claim_writer,
    };
    for name in NODES {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
            "status": {"conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2030-01-01T00:00:00Z"}]}});
        given.put(&format!("nodes/{name}"), node);
    }
    given.hear();
    given
}

fn lead(claim: &leader::ClaimWriter) {
    let now = Instant::now();
    claim.set(Some(now + Duration::from_secs(600)), now);
}

fn fill<K>(cache: &mut Cache<K>, objects: &[Value])
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    cache.apply_watcher_event(&Event::Init);
    for object in objects {
        let object = serde_json::from_value(object.clone()).unwrap();
        cache.apply_watcher_event(&Event::InitApply(object));
    }
    cache.apply_watcher_event(&Event::InitDone);
}

impl Given {
    fn put(&self, key: &str, object: Value) {
        let mut world = self.world.lock().unwrap();
        world.objects.insert(key.to_owned(), object);
    }

    fn remove(&self, key: &str) {
        self.world.lock().unwrap().objects.remove(key);
    }

    fn of(&self, resource: &str) -> Vec<Value> {
        let world = self.world.lock().unwrap();
        let all = world.objects.iter();
        all.filter(|(key, _)| key.starts_with(resource) && !key.ends_with("/status"))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The caches take in all that there is.
    fn hear(&mut self) {
        let of = |resource: &str| self.of(resource);
        let [sets, accounts, nodes, pods, kept, records] = [
            "daemonsets/",
            "serviceaccounts/",
            "nodes/",
            "pods/",
            "controllerrevisions/",
            "configmaps/",
        ]
        .map(of);
        fill(&mut self.daemon_sets, &sets);
        fill(&mut self.accounts, &accounts);
        fill(&mut self.nodes, &nodes);
        fill(&mut self.pods.0, &pods);
        self.context.pods.follow(&Event::InitDone, &self.pods.1);
        fill(&mut self.revisions, &kept);
        fill(&mut self.records, &records);
    }

    async fn look(&self, plugin: &ScopePlugin) -> Option<Duration> {
        look(plugin, &self.context).await.unwrap()
    }

    fn writes(&self) -> Vec<String> {
        self.world.lock().unwrap().writes()
    }

    /// The DaemonSet controller takes notice, and each node has a serving pod of this revision.
    fn settle(&mut self, revision: &str) {
        let mut world = self.world.lock().unwrap();
        let daemon_set = world.objects.get_mut(DAEMON_SET).unwrap();
        daemon_set["status"] = json!({"observedGeneration": daemon_set["metadata"]["generation"],
            "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0,
            "numberReady": 3});
        let owner = daemon_set["metadata"]["uid"].clone();
        drop(world);
        for node in NODES {
            let pod = json!({
                "metadata": {"name": format!("p-{node}"), "namespace": "scope-plugins",
                    "uid": format!("uid-{node}-{revision}"), "resourceVersion": "7",
                    "labels": {"scopeplugins.dev/revision": revision},
                    "creationTimestamp": "2030-01-01T00:00:00Z",
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet",
                        "name": "scope-plugin-a", "uid": owner, "controller": true}]},
                "spec": {"nodeName": node},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": "2020-01-01T00:00:00Z"}]},
            });
            self.put(&format!("pods/p-{node}"), pod);
        }
        self.hear();
    }

    fn record(&self) -> Record {
        let world = self.world.lock().unwrap();
        serde_json::from_str(
            world.objects[RECORD]["data"]["rollout.json"]
                .as_str()
                .unwrap(),
        )
        .unwrap()
    }

    fn spoil_record(&self) {
        let mut world = self.world.lock().unwrap();
        world.objects.get_mut(RECORD).unwrap()["data"]["rollout.json"] = json!("{");
    }

    /// Somebody else has led and written this.
    fn another_wrote(&mut self, record: &Record) {
        let mut world = self.world.lock().unwrap();
        let object = world.objects.get_mut(RECORD).unwrap();
        object["data"]["rollout.json"] = json!(serde_json::to_string(record).unwrap());
        object["metadata"]["resourceVersion"] = json!("9000");
        drop(world);
        self.claim.set(None, Instant::now());
        lead(&self.claim);
    }

    fn ready(&self) -> (String, String) {
        let world = self.world.lock().unwrap();
        let status = &world.objects["scopeplugins/a/status"]["status"];
        let conditions = status["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|it| it["type"] == "Ready").unwrap();
        let text = |field: &str| ready[field].as_str().unwrap().to_owned();
        (text("reason"), text("message"))
    }
}

/// The first rollout of `plugin`, until it is done.
async fn rolled_out(plugin: &ScopePlugin) -> Given {
    let mut given = given();
    given.look(plugin).await;
    given.hear();
    given.look(plugin).await;
    given.settle(&id(plugin));
    given.look(plugin).await;
    given.hear();
    assert_eq!(given.record().run.unwrap().stage, Stage::Done);
    assert_eq!(given.record().good, Some(id(plugin)));
    given.writes();
    given
}

#[tokio::test]
async fn what_is_written_down_comes_before_what_is_done() {
    let mut given = rolled_out(&before()).await;
    let mut next = plain();
    next.metadata.generation = Some(4);
    given.look(&next).await;
    let writes = given.writes();
    let target = id(&next);
    let wanted = [
        format!("PATCH controllerrevisions/scope-plugin-a-{target}"),
        format!("PATCH {RECORD}"),
        format!("PATCH {DAEMON_SET}"),
    ];
    assert_eq!(writes, wanted);
    let run = given.record().run.unwrap();
    assert_eq!((run.target, run.stage), (target, Stage::Rolling));
    let under_way: Vec<_> = run.in_flight.into_keys().collect();
    assert_eq!(under_way, ["n1"]);
    // Not before the DaemonSet controller has taken notice of the template.
    given.hear();
    given.look(&next).await;
    assert_eq!(given.writes(), [""; 0]);
    given.settle(&id(&before()));
    given.look(&next).await;
    assert_eq!(given.writes(), ["DELETE pods/p-n1"]);
    // Deleted once, however late the cache is.
    given.look(&next).await;
    assert_eq!(given.writes(), [""; 0]);
}

#[tokio::test]
async fn a_new_leader_reads_the_record_itself_and_acts_on_no_older_spec() {
    let mut given = rolled_out(&plain()).await;
    let mut record = given.record();
    let run = record.run.as_mut().unwrap();
    *run = Run {
        target: "newer".into(),
        generation: 9,
        stage: Stage::Rolling,
        ..run.clone()
    };
    // The cache still has the old record, and the plugin as it was before.
    given.another_wrote(&record);
    let again = given.look(&plain()).await;
    assert_eq!(again, Some(BEHIND));
    assert_eq!(given.writes(), [""; 0]);
    // The newer spec comes.
    let mut newer = before();
    newer.metadata.generation = Some(10);
    given.look(&newer).await;
    let run = given.record().run.unwrap();
    assert_eq!((run.target, run.generation), (id(&newer), 10));
}

#[tokio::test]
async fn a_record_that_somebody_deleted_is_written_anew() {
    let mut given = rolled_out(&plain()).await;
    given.look(&plain()).await;
    assert_eq!(given.writes(), [""; 0], "all is well");
    let record = given.record();
    given.remove(RECORD);
    given.hear();
    given.look(&plain()).await;
    assert_eq!(given.writes(), [format!("PATCH {RECORD}")]);
    assert_eq!(given.record(), record);

    // Our own write finds out before the cache does.
    given.hear();
    given.look(&plain()).await;
    given.remove(RECORD);
    let mut next = before();
    next.metadata.generation = Some(4);
    let error = look(&next, &given.context).await.unwrap_err();
    assert_eq!(error.category(), "Conflict");
    given.look(&next).await;
    assert_eq!(given.record().good, Some(id(&plain())));
}

#[tokio::test]
async fn a_template_is_lost_when_the_api_server_says_so() {
    let mut given = rolled_out(&before()).await;
    let kept = format!("controllerrevisions/scope-plugin-a-{}", id(&before()));
    assert!(given.world.lock().unwrap().objects.contains_key(&kept));
    let mut next = plain();
    next.metadata.generation = Some(4);
    // The cache has not got it.
    fill(&mut given.revisions, &[]);
    given.look(&next).await;
    assert_eq!(given.record().good, Some(id(&before())));
    given.remove(&kept);
    given.look(&next).await;
    let record = given.record();
    assert_eq!(record.good, None);
    assert_eq!(record.run.unwrap().target, id(&next));
}

#[tokio::test]
async fn what_cannot_be_planned_is_said_and_nothing_is_touched() {
    // The record is none of ours to read.
    let given_1 = rolled_out(&plain()).await;
    given_1.spoil_record();
    given_1.claim.set(None, Instant::now());
    lead(&given_1.claim);
    given_1.look(&plain()).await;
    assert_eq!(given_1.writes(), [""; 0]);
    assert_eq!(given_1.ready().0, "RecordUnreadable");

    // The placement matches no node, and pods run.
    let given_2 = rolled_out(&plain()).await;
    let mut nowhere = plugin(json!({"agent": {}, "placement": {"nodeSelector": {"pool": "x"}}}));
    nowhere.metadata.generation = Some(4);
    given_2.look(&nowhere).await;
    assert_eq!(given_2.writes(), [""; 0]);
    let (reason, message) = given_2.ready();
    assert_eq!(reason, "PlacementMatchesNothing");
    assert!(message.contains('3'), "{message}");

    // What the DaemonSet should carry is gone: the rollout of it stopped, and nothing was good before.
    let mut given_3 = rolled_out(&before()).await;
    let kept = format!("controllerrevisions/scope-plugin-a-{}", id(&before()));
    given_3.remove(&kept);
    given_3.hear();
    let mut record = given_3.record();
    record.good = None;
    let run = record.run.as_mut().unwrap();
    run.target = id(&plain());
    run.stage = Stage::Halted { why: "no".into() };
    given_3.another_wrote(&record);
    given_3.look(&plain()).await;
    assert_eq!(given_3.writes(), [""; 0]);
    assert_eq!(given_3.ready().0, "TemplateLost");
}

#[tokio::test]
async fn a_suspended_plugin_has_no_agents_and_comes_back() {
    let mut given = rolled_out(&plain()).await;
    let mut suspended = plugin(json!({"agent": {}, "suspended": true}));
    suspended.metadata.generation = Some(4);
    given.look(&suspended).await;
    let wanted = [format!("PATCH {RECORD}"), format!("DELETE {DAEMON_SET}")];
    assert_eq!(given.writes(), wanted);
    // Whoever leads next and still sees the spec of before makes no agents by it.
    given.hear();
    given.claim.set(None, Instant::now());
    lead(&given.claim);
    assert_eq!(given.look(&plain()).await, Some(BEHIND));
    assert_eq!(given.writes(), [""; 0]);
    for node in NODES {
        given.remove(&format!("pods/p-{node}"));
    }
    given.hear();
    let mut again = plain();
    again.metadata.generation = Some(5);
    given.look(&again).await;
    assert!(given.writes().contains(&format!("PATCH {DAEMON_SET}")));
    assert_eq!(given.record().run.unwrap().stage, Stage::Done, "no failure");
}

#[tokio::test]
async fn without_a_claim_nothing_is_written() {
    let given = given();
    given.claim.set(None, Instant::now());
    let error = look(&plain(), &given.context).await.unwrap_err();
    assert_eq!(error.category(), "NotLeading");
    assert_eq!(given.writes(), [""; 0]);
}

/// How many nodes are silent, as it was written, and how often a status was written since the last time.
fn silence(given: &Given) -> (Value, usize) {
    let mut world = given.world.lock().unwrap();
    let writes = world.requests.drain(..);
    let writes = writes
        .filter(|request| request == "PATCH scopeplugins/a/status")
        .count();
    let status = &world.objects["scopeplugins/a/status"]["status"];
    (status["scope"]["nodesSilent"].clone(), writes)
}

#[tokio::test]
async fn what_agents_tell_is_written_when_it_changes() {
    let plugin = plain();
    let mut given = given();
    given.context.settings.totals = Some(Totals {
        config_map: "scope-totals-ca".into(),
        token_file: "/token".into(),
    });
    let revision = Revision::wanted(&plugin, &given.context.settings).id;
    given.look(&plugin).await;
    given.hear();
    given.look(&plugin).await;
    given.settle(&revision);
    given.look(&plugin).await;
    given.hear();
    assert_eq!(silence(&given).0, Value::Null, "nothing was heard yet");
    let tell = |given: &Given, silent: u32| {
        let fleet = Fleet {
            version: 1,
            warming_ms: None,
            plugins: vec![PluginHealth {
                plugin: "a".into(),
                nodes: 3,
                asked: 3 - silent,
                silent,
                ..PluginHealth::default()
            }],
        };
        let expected = [totals::Expected {
            uid: "uid-a".into(),
            name: "a".into(),
            agents: 3,
        }];
        let term = given.context.writer.claim.term();
        let board = &given.context.board;
        board.hear(term, &expected, Ok(&fleet), Instant::now())
    };
    assert_eq!(tell(&given, 1), ["a"]);
    given.look(&plugin).await;
    assert_eq!(silence(&given), (json!(1), 1));
    given.look(&plugin).await;
    assert_eq!(silence(&given), (json!(1), 0), "the same");
    assert_eq!(tell(&given, 0), ["a"]);
    given.look(&plugin).await;
    assert_eq!(silence(&given), (json!(0), 1));
    assert_eq!(given.ready().0, "AllNodesReady");
    // Whoever leads next says the same until it has heard something.
    given.claim.set(None, Instant::now());
    lead(&given.claim);
    given.look(&plugin).await;
    assert_eq!(silence(&given), (json!(0), 0));
    // Totals are installed no more.
    given.context.settings.totals = None;
    given.look(&plugin).await;
    assert_eq!(silence(&given).0, Value::Null);
}

/// A plugin that no node matches has no agents of which anything could be heard.
#[tokio::test]
async fn nothing_is_said_of_scope_where_there_are_no_agents() {
    for (matches, wanted) in [(true, json!("AgentsNotHeard")), (false, Value::Null)] {
        let plugin = match matches {
            true => plain(),
            false => plugin(json!({"agent": {}, "placement": {"nodeSelector": {"pool": "x"}}})),
        };
        let mut given = given();
        given.context.settings.totals = Some(Totals {
            config_map: "scope-totals-ca".into(),
            token_file: "/token".into(),
        });
        let nothing = Fleet {
            version: 1,
            warming_ms: None,
            plugins: Vec::new(),
        };
        let expected = [totals::Expected {
            uid: "uid-a".into(),
            name: "a".into(),
            agents: 0,
        }];
        let (term, now) = (given.context.writer.claim.term(), Instant::now());
        for now in [now, now + Duration::from_secs(300)] {
            let board = &given.context.board;
            board.hear(term, &expected, Ok(&nothing), now);
        }
        for _ in 0..3 {
            given.look(&plugin).await;
            given.hear();
        }
        let world = given.world.lock().unwrap();
        let conditions = &world.objects["scopeplugins/a/status"]["status"]["conditions"];
        let said = conditions
            .as_array()
            .unwrap()
            .iter()
            .find(|condition| condition["type"] == "ScopeConnected");
        let reason = said.map_or(Value::Null, |condition| condition["reason"].clone());
        assert_eq!(reason, wanted, "{conditions}");
    }
}
