//! What each source says at this moment. Files are read when they are asked; what else there is is asked in the background, and
//! its last word is kept here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::{BundleError, TrustBundle};
use crate::endpoint::Fetched;
use crate::limits::BUNDLE_FILE_BYTES_MAX;
use crate::svid::OwnSvid;
use crate::workload::{Feed, Given};
use crate::{BundleEndpoint, BundleSource, IdentityConfig, IdentityError, SvidSource, TrustDomain, WorkloadApi, files};

/// What has been delivered by sources that are not files.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    feed: Option<Feed>,
    endpoints: BTreeMap<TrustDomain, Fetched>,
}

/// A source's word, and what it could not tell.
#[derive(Debug)]
pub(crate) struct Told<T> {
    pub(crate) word: Word<T>,
    pub(crate) error: Option<IdentityError>,
}

#[derive(Debug)]
pub(crate) enum Word<T> {
    /// This is to be used.
    Use(T),
    /// Nothing new: what is in use stays.
    Keep,
    /// What is in use must not be used any more.
    Drop,
}

/// A bundle before it is read.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    form: Form,
    /// Where it comes from, for errors.
    place: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// PEM or a JWK Set.
    Text,
    /// Certificates one after the other.
    Ders,
    /// A JWK Set.
    Spiffe,
}

impl Inbox {
    pub(crate) fn with(feed: Feed) -> Self {
        Self { feed: Some(feed), ..Self::default() }
    }

    /// What has come from this Workload API, to be changed. What another one gave is forgotten.
    pub(crate) fn feed_of(&mut self, api: &WorkloadApi) -> &mut Feed {
        if self.feed.as_ref().is_some_and(|feed| feed.api != *api) {
            self.feed = None;
        }
        self.feed.get_or_insert_with(|| Feed::new(api))
    }

    /// The same of this domain's bundle endpoint.
    pub(crate) fn fetched_of(&mut self, domain: &TrustDomain, endpoint: &BundleEndpoint) -> &mut Fetched {
        let fetched = self.endpoints.entry(domain.clone()).or_insert_with(|| Fetched::new(endpoint));
        if fetched.endpoint != *endpoint {
            *fetched = Fetched::new(endpoint);
        }
        fetched
    }

    /// The own SVID, of the own trust domain.
    pub(crate) fn svid(&self, config: &IdentityConfig) -> Told<Arc<OwnSvid>> {
        let told = match &config.svid {
            SvidSource::Files { cert, key } => OwnSvid::from_files(cert, key).map(Arc::new).into(),
            SvidSource::WorkloadApi(api) => self.given_svid(api),
        };
        let Word::Use(svid) = &told.word else { return told };
        match svid.check_domain(&config.svid, &config.trust_domain) {
            Ok(()) => told,
            Err(error) => Err(error).into(),
        }
    }

    /// The bundle of a domain, unread.
    pub(crate) fn bundle(&self, config: &IdentityConfig, domain: &TrustDomain, source: &BundleSource) -> Told<Content> {
        match source {
            BundleSource::File(path) => Content::from_file(path).into(),
            BundleSource::Endpoint(endpoint) => self.fetched_bundle(domain, endpoint),
            BundleSource::WorkloadApi => match config.workload_api() {
                Some(api) => self.given_bundle(api, domain),
                None => Err(IdentityError::NoWorkloadApi(domain.clone())).into(),
            },
        }
    }

    /// A source that is asked in the background has not had a first word.
    pub(crate) fn awaits(&self, config: &IdentityConfig) -> bool {
        let silent = |api| self.feed(api).is_none_or(|feed| matches!(feed.given, Given::Nothing));
        let unasked = |(domain, endpoint)| self.fetched(domain, endpoint).is_none_or(Fetched::is_awaited);
        config.workload_api().is_some_and(silent) || config.endpoints().any(unasked)
    }

    fn given_svid(&self, api: &WorkloadApi) -> Told<Arc<OwnSvid>> {
        let Some(feed) = self.feed(api) else { return Told::unasked(api) };
        let word = match &feed.given {
            Given::Nothing => Word::Keep,
            Given::Update(update) => Word::Use(update.svid.clone()),
            Given::Withdrawn => Word::Drop,
        };
        Told { word, error: feed.error() }
    }

    fn given_bundle(&self, api: &WorkloadApi, domain: &TrustDomain) -> Told<Content> {
        let Some(feed) = self.feed(api) else { return Told::unasked(api) };
        let update = match &feed.given {
            Given::Nothing => return Told { word: Word::Keep, error: feed.error() },
            Given::Withdrawn => return Told { word: Word::Drop, error: feed.error() },
            Given::Update(update) => update,
        };
        let address = api.to_string();
        match update.bundles.get(domain) {
            Some(ders) => Ok(Content { bytes: ders.clone(), form: Form::Ders, place: address.into() }).into(),
            None => {
                let error = IdentityError::NotGiven { address, trust_domain: domain.clone() };
                Told { word: Word::Drop, error: Some(error) }
            }
        }
    }

    /// Until the first document has come, the one that was kept from before serves.
    fn fetched_bundle(&self, domain: &TrustDomain, endpoint: &BundleEndpoint) -> Told<Content> {
        let fetched = self.fetched(domain, endpoint);
        let content = |bytes, place| Word::Use(Content { bytes, form: Form::Spiffe, place });
        let word = match fetched.and_then(|fetched| fetched.document.clone()) {
            Some(document) => content(document, endpoint.place()),
            None => match endpoint.kept().map(|path| (files::read(path, BUNDLE_FILE_BYTES_MAX), path)) {
                Some((Ok(kept), path)) => content(kept.to_vec(), path.into()),
                _ => Word::Keep,
            },
        };
        let why = match fetched {
            Some(Fetched { trouble: Some(why), .. }) => why.clone(),
            Some(Fetched { document: Some(_), .. }) => return Told { word, error: None },
            _ => "it has not answered yet".into(),
        };
        let url = endpoint.place().display().to_string();
        Told { word, error: Some(IdentityError::Endpoint { trust_domain: domain.clone(), url, why }) }
    }

    fn fetched(&self, domain: &TrustDomain, endpoint: &BundleEndpoint) -> Option<&Fetched> {
        self.endpoints.get(domain).filter(|fetched| fetched.endpoint == *endpoint)
    }

    fn feed(&self, api: &WorkloadApi) -> Option<&Feed> {
        self.feed.as_ref().filter(|feed| feed.api == *api)
    }
}

impl<T> Told<T> {
    fn unasked(api: &WorkloadApi) -> Self {
        Self { word: Word::Keep, error: Feed::new(api).error() }
    }
}

impl<T> From<Result<T, IdentityError>> for Told<T> {
    fn from(read: Result<T, IdentityError>) -> Self {
        match read {
            Ok(value) => Self { word: Word::Use(value), error: None },
            Err(error) => Self { word: Word::Keep, error: Some(error) },
        }
    }
}

impl Content {
    fn from_file(path: &Path) -> Result<Self, IdentityError> {
        let bytes = files::read(path, BUNDLE_FILE_BYTES_MAX)?.to_vec();
        Ok(Self { bytes, form: Form::Text, place: path.into() })
    }

    /// Reads the bundle. It must not be older than `in_use`.
    pub(crate) fn parse(
        &self,
        domain: &TrustDomain,
        in_use: Option<&TrustBundle>,
        now_unix_ms: i64,
    ) -> Result<TrustBundle, IdentityError> {
        let bad = |source| IdentityError::BadBundle { trust_domain: domain.clone(), path: self.place.clone(), source };
        let bundle = match self.form {
            Form::Text => TrustBundle::parse(&self.bytes, now_unix_ms),
            Form::Ders => TrustBundle::from_ders(&self.bytes, now_unix_ms),
            Form::Spiffe => TrustBundle::parse_spiffe(&self.bytes, now_unix_ms),
        };
        let bundle = bundle.map_err(bad)?;
        match (bundle.sequence(), in_use.and_then(TrustBundle::sequence)) {
            (Some(found), Some(in_use)) if found < in_use => Err(bad(BundleError::SequenceBack { found, in_use })),
            _ => Ok(bundle),
        }
    }
}
