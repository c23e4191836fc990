//! What agents hear besides totals: the controllers without pods that they draw, and the Services of their pods.

use scope_totals::census::{Name, NamespaceMark, Slice, watch};
use scope_totals_wire::{Controller, Fate, Kind, Members, Metric, Partial, Uid};

use super::{
    asked, ready,
    support::{Agent, Service, apps, deployment},
};

#[tokio::test]
async fn an_agent_that_scope_asks_draws_what_has_no_pods() {
    let service = ready(&["a", "b", "c", "d"]).await;
    let mut agents = Vec::new();
    for node in ["a", "b", "c", "d"] {
        let mut agent = service.agent(node).await;
        // Nobody asks the last one.
        agent.health = (node != "d").then(asked).flatten();
        let reply = agent.tell(1.0).await;
        assert_eq!((reply.fate, reply.podless), (Fate::Taken, None));
        agents.push(agent);
    }
    service.a_round_later().await;
    let mut told = Vec::new();
    for (number, agent) in agents.iter_mut().enumerate() {
        if let Some(podless) = agent.tell(1.0).await.podless {
            told.push((number, podless));
        }
    }
    assert_eq!(told.len(), 2, "one and a spare: {told:?}");
    let (number, list) = told[0].clone();
    assert_ne!(number, 3);
    assert_eq!(told[1].1.version, list.version);
    let wanted = Controller {
        kind: Kind::Deployment,
        uid: deployment(2).uid,
        name: "app-2".into(),
        namespace: "apps".into(),
        namespace_uid: apps(),
    };
    assert_eq!(list.objects, Some(vec![wanted]));
    assert_eq!((list.valid_ms, list.left_out), (18_000, 0));
    for (line, count) in [("podless", 1), ("podless_agents", 2)] {
        assert_eq!(service.metric(&format!("scope_totals_{line} ")), count);
    }
    // What it has is not sent again, until it is another list.
    let agent = &mut agents[number];
    agent.podless = Some(list.version);
    let same = agent.tell(1.0).await.podless.unwrap();
    assert_eq!((same.version, same.objects), (list.version, None));
    {
        let mut census = watch::lock(&service.census);
        census.controllers.deployments.remove(&deployment(2).uid);
    }
    service.a_round_later().await;
    let other = agent.tell(1.0).await.podless.unwrap();
    assert_ne!(other.version, list.version);
    assert_eq!(other.objects, Some(Vec::new()));
    // Nobody asks it any more: another one takes its place.
    agent.health.as_mut().unwrap().asked_ms_ago = Some(60_000);
    agent.tell(1.0).await;
    service.a_round_later().await;
    assert_eq!(agents[number].tell(1.0).await.podless, None);
    assert_eq!(service.metric("scope_totals_podless_agents "), 2);
}

/// The pods of these nodes, by number, are those of a Service.
fn serve(service: &Service, pods: &[u8]) {
    let name = Name {
        namespace: "apps".into(),
        name: "web".into(),
    };
    let mut census = watch::lock(&service.census);
    let services = &mut census.services;
    services.names.put(name.clone(), Uid::from_bytes([50; 16]));
    let slice = Slice {
        service: name,
        namespace: NamespaceMark::default(),
        owner: None,
        pods: Some(pods.iter().map(|pod| Uid::from_bytes([*pod; 16])).collect()),
    };
    services.slices.put(Uid::from_bytes([51; 16]), slice);
    services.names.complete();
    services.slices.complete();
}

/// Reports that this pod of the Service uses so many millicores, by that list; the total, if it is told.
async fn service_total(agent: &mut Agent, list: &[Members], millicores: f64) -> Option<f64> {
    let mut report = agent.report(1.0);
    let partial = |one: &Members| Partial {
        kind: Kind::Service,
        uid: one.uid,
        counted: one.pods.len() as u32,
        members: Some(one.version),
        values: [(Metric::Millicores, millicores)].into_iter().collect(),
    };
    report.objects.extend(list.iter().map(partial));
    let reply = agent.send(&report).await.reply();
    let total = reply
        .totals
        .iter()
        .find(|total| total.kind == Kind::Service)?;
    assert_eq!((total.counted, total.pods), (2, 2));
    total.values.get(Metric::Millicores)
}

#[tokio::test]
async fn a_service_has_a_total_of_the_pods_that_it_has_now() {
    let service = ready(&["a", "b", "c"]).await;
    serve(&service, &[0, 1]);
    let mut old = service.agent("c").await;
    let (mut a, mut b) = (service.agent("a").await, service.agent("b").await);
    (a.services, b.services) = (Some(0), Some(0));
    for agent in [&mut a, &mut b, &mut old] {
        assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    }
    service.a_round_later().await;
    assert_eq!(old.tell(1.0).await.services, None, "it could not read it");
    let [of_a, of_b] = [a.tell(1.0).await, b.tell(1.0).await].map(|reply| reply.services.unwrap());
    let lists = [of_a.services.unwrap(), of_b.services.unwrap()];
    for (list, pod) in lists.iter().zip([0, 1]) {
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].pods, [Uid::from_bytes([pod; 16])]);
    }
    a.services = Some(of_a.version);
    let again = a.tell(1.0).await.services.unwrap();
    assert_eq!((again.version, again.services), (of_a.version, None));
    assert_eq!(service.metric("scope_totals_services "), 1);
    service.a_round_later().await;
    service_total(&mut a, &lists[0], 100.0).await;
    service_total(&mut b, &lists[1], 200.0).await;
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, Some(300.0));
    // Another pod of the same node takes the place of one: whoever sums up the old set is not counted.
    {
        let mut census = watch::lock(&service.census);
        let pod = census.pods.get(&Uid::from_bytes([1; 16])).cloned().unwrap();
        census.pods.put(Uid::from_bytes([9; 16]), pod);
    }
    serve(&service, &[0, 9]);
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, None);
    let reply = b.tell(1.0).await.services.unwrap();
    let now = reply.services.unwrap();
    assert_eq!(now[0].pods, [Uid::from_bytes([9; 16])]);
    service.a_round_later().await;
    service_total(&mut b, &now, 50.0).await;
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, Some(150.0));
}
