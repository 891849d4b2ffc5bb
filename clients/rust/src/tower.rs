//! A tower layer that puts every request of a service into its context.

use crate::{RequestContext, context::CORRELATION_ID};
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Gives each request of a tower service (axum's, tonic's) a [`RequestContext`] from its headers: in the extensions of the
/// request, where handlers find it, and as the [current](RequestContext::current) one while the request is worked on, where
/// [`SpanEvents`](crate::SpanEvents) finds it. The response tells the correlation id in `x-correlation-id`.
///
/// Put it outside of layers whose spans are to know the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestContextLayer;

impl<S> Layer<S> for RequestContextLayer {
    type Service = RequestContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestContextService { inner }
    }
}

/// What [`RequestContextLayer`] makes of a service.
#[derive(Clone, Copy, Debug)]
pub struct RequestContextService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for RequestContextService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ContextFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let context = RequestContext::from_headers(request.headers());
        request.extensions_mut().insert(context.clone());
        // The service may begin its work, and its spans, before the future is polled.
        let future = context.sync_scope(|| self.inner.call(request));
        ContextFuture { future, context }
    }
}

pin_project! {
    /// The response to a request that is worked on within its context.
    #[derive(Debug)]
    pub struct ContextFuture<F> {
        #[pin]
        future: F,
        context: RequestContext,
    }
}

impl<F, R, E> Future for ContextFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.context.sync_scope(|| this.future.poll(cx)));
        if let Ok(response) = &mut result {
            let id = HeaderValue::from_str(this.context.correlation_id());
            let id = id.expect("visible ASCII was checked when it was read");
            response.headers_mut().entry(CORRELATION_ID).or_insert(id);
        }
        Poll::Ready(result)
    }
}
