//! What a view costs for each event: nothing where no rule concerns its type, and little where one does.

use criterion::{Criterion, criterion_group, criterion_main};
use fanfare::{
    auth::{Action, MaskDraft, MaskKey, Masks, Principal, View},
    bus::{self, Bus},
    event::{Draft, Event, Limits, NewEvent},
    hub::Hub,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use std::{hint::black_box, sync::Arc};

fn view(types: &str, path: &str, action: Action) -> View {
    let rule = MaskDraft {
        types: vec![types.to_owned()],
        path: path.to_owned(),
        action,
        roles: None,
        except: Some(Vec::new()),
    };
    let masks = Masks::new(vec![rule], MaskKey::new([1; 32])).expect("the rule is right");
    masks.view(&["member"], |_| true)
}

/// An event of about 300 bytes, as the log gives it.
fn event() -> Arc<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = MemoryLog::open(MemoryOptions::default(), Box::new(|_| ()));
        let hub = Hub::new(Arc::new(log), Bus::new(&bus::Options::default()), Metrics::new(), Limits::default());
        let draft = r#"{"type":"agent.status_changed","id":"0193b7a2-0000-7000-8000-000000000001","source":"/fleet/eu-1",
            "organizationId":"quant","agentId":"agent-17","data":{"status":"busy","previousStatus":"idle","user":{"name":"Ann Other",
            "email":"ann.other@example.org"},"load":0.75,"labels":["gpu","eu-1","spot"]}}"#;
        let event = NewEvent::new(Draft::from_json(draft).expect("JSON"), hub.limits()).expect("an event");
        hub.publish(&Principal::anonymous(), vec![event.clone()]).await.expect("a place in the log");
        hub.find(&Principal::anonymous(), event.id()).await.expect("a read").expect("the event")
    })
}

fn masking(criterion: &mut Criterion) {
    let event = event();
    let mut group = criterion.benchmark_group("show");
    for (name, view) in [
        ("whole view", View::whole()),
        ("another type", view("task.*", "data.user.email", Action::Null)),
        ("no such path", view("agent.*", "data.owner.email", Action::Null)),
        ("data.user.email null", view("agent.*", "data.user.email", Action::Null)),
        ("data.user.email partial", view("agent.*", "data.user.email", Action::Partial)),
        ("data.user.email hash", view("agent.*", "data.user.email", Action::Hash)),
        ("agentId hash", view("agent.*", "agentId", Action::Hash)),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&view).show(black_box(&event))));
    }
    group.finish();
}

criterion_group!(benches, masking);
criterion_main!(benches);
