//! The gRPC method: requests are decoded by the generated types, responses are written from shared payloads.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};

use super::{Ads, stream};
use crate::wire::Response;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const STATE_OF_THE_WORLD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The aggregated discovery service of one listening socket.
#[derive(Clone)]
pub(super) struct AdsService {
    pub(super) ads: Ads,
    /// Becomes true when the socket's server is to end.
    pub(super) closing: watch::Receiver<bool>,
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<http::Request<Body>> for AdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                DELTA => {
                    let limit = service.ads.shared.options.max_request_bytes;
                    let mut grpc = Grpc::new(AdsCodec).max_decoding_message_size(limit);
                    grpc.streaming(service, request).await
                }
                STATE_OF_THE_WORLD => {
                    Status::unimplemented("only incremental discovery is offered: set api_type to DELTA_GRPC")
                        .into_http()
                }
                _ => Status::unimplemented("unknown method of the aggregated discovery service").into_http(),
            })
        })
    }
}

impl StreamingService<DeltaDiscoveryRequest> for AdsService {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = Boxed<tonic::Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let opened = stream::open(&self.ads, request.into_inner(), self.closing.clone());
        Box::pin(std::future::ready(opened.map(|responses| tonic::Response::new(ReceiverStream::new(responses)))))
    }
}

struct AdsCodec;

impl Codec for AdsCodec {
    type Encode = Response;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = ResponseEncoder;
    type Decoder = RequestDecoder;

    fn encoder(&mut self) -> ResponseEncoder {
        ResponseEncoder
    }

    fn decoder(&mut self) -> RequestDecoder {
        RequestDecoder
    }
}

struct ResponseEncoder;

impl Encoder for ResponseEncoder {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(response.encoded_len());
        debug_assert!(buf.remaining_mut() >= response.encoded_len());
        response.encode(buf);
        Ok(())
    }
}

struct RequestDecoder;

impl Decoder for RequestDecoder {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        let request = DeltaDiscoveryRequest::decode(buf);
        request.map(Some).map_err(|error| Status::internal(format!("discovery request: {error}")))
    }
}
