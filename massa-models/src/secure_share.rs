//! Signed objects: operations, endorsements, headers and blocks.
//!
//! A [`SecureShare`] is a content with its creator's key, the signature, and the id. Bytes: signature (65) | public key
//! (33) | content. What the id hashes and what is signed depends on the content; [`SecureShareContent`] says how.
//!
//! Parsing recomputes the id from the received bytes. It does not verify the signature.

use crate::address::Address;
use crate::error::ModelsError;
use crate::serialization::consumed;
use massa_hash::Hash;
use massa_serialization::{Deserializer, SerializeError, Serializer};
use massa_signature::{KeyPair, PublicKey, PublicKeyDeserializer, Signature, SignatureDeserializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::marker::PhantomData;

/// An id made of a hash.
pub trait Id {
    /// The id of the object that has this hash.
    fn new(hash: Hash) -> Self;

    /// The hash in the id.
    fn get_hash(&self) -> &Hash;
}

/// A content with the signature of its creator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecureShare<T: Display + SecureShareContent, ID: Id> {
    /// What is signed.
    pub content: T,
    /// The bytes of the content as they were received; of blocks, the bytes of everything. Lost in JSON.
    #[serde(skip)]
    pub serialized_data: Vec<u8>,
    /// The signature of the creator.
    pub signature: Signature,
    /// The key of the creator.
    pub content_creator_pub_key: PublicKey,
    /// The address derived from that key.
    pub content_creator_address: Address,
    /// The id of the object.
    pub id: ID,
}

/// A content that can be signed. The defaults suit contents without particularities.
pub trait SecureShareContent: Sized + Display {
    /// Signs the content whose id hash is `content_hash`.
    ///
    /// # Errors
    /// [`ModelsError::MassaSignatureError`]: the key cannot sign.
    fn sign(&self, keypair: &KeyPair, content_hash: &Hash) -> Result<Signature, ModelsError> {
        let signed_hash = self.compute_signed_hash(&keypair.get_public_key(), content_hash);
        Ok(keypair.sign(&signed_hash)?)
    }

    /// Checks the signature of the content whose id hash is `content_hash`.
    ///
    /// # Errors
    /// [`ModelsError::MassaSignatureError`]: it does not verify.
    fn verify_signature(
        &self,
        public_key: &PublicKey,
        content_hash: &Hash,
        signature: &Signature,
    ) -> Result<(), ModelsError> {
        let signed_hash = self.compute_signed_hash(public_key, content_hash);
        Ok(public_key.verify_signature(&signed_hash, signature)?)
    }

    /// Makes the signed object.
    ///
    /// # Errors
    /// - [`ModelsError::SerializationError`]: the content has no encoding.
    /// - [`ModelsError::MassaSignatureError`]: the key cannot sign.
    fn new_verifiable<Ser: Serializer<Self>, ID: Id>(
        self,
        content_serializer: Ser,
        keypair: &KeyPair,
        chain_id: u64,
    ) -> Result<SecureShare<Self, ID>, ModelsError> {
        let mut serialized_data = Vec::new();
        content_serializer.serialize(&self, &mut serialized_data)?;
        let public_key = keypair.get_public_key();
        let hash = self.compute_hash(&serialized_data, &public_key, chain_id);
        Ok(SecureShare {
            signature: self.sign(keypair, &hash)?,
            content_creator_pub_key: public_key,
            content_creator_address: Address::from_public_key(&public_key),
            id: ID::new(hash),
            content: self,
            serialized_data,
        })
    }

    /// The hash in the id: by default of the creator's key (33 bytes) and the content, whatever the chain.
    fn compute_hash(&self, content_serialized: &[u8], content_creator_pub_key: &PublicKey, _chain_id: u64) -> Hash {
        Hash::compute_from_concatenation(&[&content_creator_pub_key.to_bytes(), content_serialized])
    }

    /// The hash that is signed: by default the one in the id.
    fn compute_signed_hash(&self, _public_key: &PublicKey, content_hash: &Hash) -> Hash {
        *content_hash
    }

    /// Appends the bytes of a signed object.
    ///
    /// # Errors
    /// None by default.
    fn serialize(
        signature: &Signature,
        creator_public_key: &PublicKey,
        serialized_content: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        buffer.extend_from_slice(&signature.to_bytes());
        buffer.extend_from_slice(&creator_public_key.to_bytes());
        buffer.extend_from_slice(serialized_content);
        Ok(())
    }

    /// Reads a signed object. The id is that of the bytes received, or, with a `content_serializer`, of the content
    /// written anew by it.
    ///
    /// # Errors
    /// The bytes are not a signed object, or `content_serializer` refuses the content.
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>, Deser: Deserializer<Self>, ID: Id>(
        content_serializer: Option<&dyn Serializer<Self>>,
        signature_deserializer: &SignatureDeserializer,
        creator_public_key_deserializer: &PublicKeyDeserializer,
        content_deserializer: &Deser,
        buffer: &'a [u8],
        chain_id: u64,
    ) -> IResult<&'a [u8], SecureShare<Self, ID>, E> {
        context("Failed SecureShare deserialization", |input: &'a [u8]| {
            let (rest, signature) = signature_deserializer.deserialize(input)?;
            let (content_start, public_key) = creator_public_key_deserializer.deserialize(rest)?;
            let (rest, content) = content_deserializer.deserialize(content_start)?;
            let received = consumed(content_start, rest);
            let serialized_data = content_bytes(content_serializer, &content, received)?;
            let hash = content.compute_hash(&serialized_data, &public_key, chain_id);
            let secure_share = SecureShare {
                content,
                serialized_data,
                signature,
                content_creator_pub_key: public_key,
                content_creator_address: Address::from_public_key(&public_key),
                id: ID::new(hash),
            };
            Ok((rest, secure_share))
        })(buffer)
    }
}

/// The bytes of `content`: those received, or those that `content_serializer` writes.
pub(crate) fn content_bytes<'a, T, E: ParseError<&'a [u8]>>(
    content_serializer: Option<&dyn Serializer<T>>,
    content: &T,
    received: &'a [u8],
) -> Result<Vec<u8>, nom::Err<E>> {
    let Some(content_serializer) = content_serializer else {
        return Ok(received.to_vec());
    };
    let mut bytes = Vec::new();
    content_serializer
        .serialize(content, &mut bytes)
        .map_err(|_| nom::Err::Error(E::from_error_kind(received, ErrorKind::Fail)))?;
    Ok(bytes)
}

impl<T: Display + SecureShareContent, ID: Id> SecureShare<T, ID> {
    /// Checks the signature. Of a block, check its header instead: a block has no signature of its own.
    ///
    /// # Errors
    /// [`ModelsError::MassaSignatureError`]: it does not verify.
    pub fn verify_signature(&self) -> Result<(), ModelsError> {
        self.content
            .verify_signature(&self.content_creator_pub_key, self.id.get_hash(), &self.signature)
    }

    /// The hash that is signed, for [`massa_signature::verify_signature_batch`].
    pub fn compute_signed_hash(&self) -> Hash {
        self.content
            .compute_signed_hash(&self.content_creator_pub_key, self.id.get_hash())
    }

    /// Length of the signed object in bytes. Too large for a block: use `bytes_count` there.
    pub fn serialized_size(&self) -> usize {
        self.serialized_data.len() + self.signature.get_ser_len() + self.content_creator_pub_key.get_ser_len()
    }

    /// Signs `hash` itself. For headers and endorsements this is not their signature: see [`SecureShareContent::sign`].
    ///
    /// # Errors
    /// [`ModelsError::MassaSignatureError`]: the key cannot sign.
    pub fn sign(keypair: &KeyPair, hash: &Hash, _content: &T) -> Result<Signature, ModelsError> {
        Ok(keypair.sign(hash)?)
    }
}

/// Writes signed objects from the bytes that they keep of their content.
#[derive(Clone, Debug, Default)]
pub struct SecureShareSerializer;

impl SecureShareSerializer {
    /// A serializer of every content.
    pub const fn new() -> Self {
        Self
    }

    /// Writes a signed object with another form of its content.
    ///
    /// # Errors
    /// `content_serializer` refuses the content.
    pub fn serialize_with<Ser, T, ID>(
        &self,
        content_serializer: &Ser,
        value: &SecureShare<T, ID>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError>
    where
        Ser: Serializer<T>,
        T: Display + SecureShareContent,
        ID: Id,
    {
        let mut content = Vec::new();
        content_serializer.serialize(&value.content, &mut content)?;
        T::serialize(&value.signature, &value.content_creator_pub_key, &content, buffer)
    }
}

impl<T: Display + SecureShareContent, ID: Id> Serializer<SecureShare<T, ID>> for SecureShareSerializer {
    fn serialize(&self, value: &SecureShare<T, ID>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        T::serialize(
            &value.signature,
            &value.content_creator_pub_key,
            &value.serialized_data,
            buffer,
        )
    }
}

/// Reads signed objects.
pub struct SecureShareDeserializer<T: SecureShareContent, Deser: Deserializer<T>> {
    signature_deserializer: SignatureDeserializer,
    public_key_deserializer: PublicKeyDeserializer,
    content_deserializer: Deser,
    chain_id: u64,
    content: PhantomData<T>,
}

impl<T: SecureShareContent, Deser: Deserializer<T>> SecureShareDeserializer<T, Deser> {
    /// A deserializer for the network `chain_id`. With another chain id, operations get other ids.
    pub const fn new(content_deserializer: Deser, chain_id: u64) -> Self {
        Self {
            signature_deserializer: SignatureDeserializer::new(),
            public_key_deserializer: PublicKeyDeserializer::new(),
            content_deserializer,
            chain_id,
            content: PhantomData,
        }
    }

    /// Reads a signed object whose content was written in another form; its id is that of what `content_serializer`
    /// writes.
    ///
    /// # Errors
    /// As [`SecureShareContent::deserialize`].
    pub fn deserialize_with<'a, E, ID, Ser>(
        &self,
        content_serializer: &Ser,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], SecureShare<T, ID>, E>
    where
        E: ParseError<&'a [u8]> + ContextError<&'a [u8]>,
        ID: Id,
        Ser: Serializer<T>,
    {
        self.parse(Some(content_serializer), buffer)
    }

    fn parse<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>, ID: Id>(
        &self,
        content_serializer: Option<&dyn Serializer<T>>,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], SecureShare<T, ID>, E> {
        T::deserialize(
            content_serializer,
            &self.signature_deserializer,
            &self.public_key_deserializer,
            &self.content_deserializer,
            buffer,
            self.chain_id,
        )
    }
}

impl<T, ID, Deser> Deserializer<SecureShare<T, ID>> for SecureShareDeserializer<T, Deser>
where
    T: Display + SecureShareContent,
    ID: Id,
    Deser: Deserializer<T>,
{
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], SecureShare<T, ID>, E> {
        self.parse(None, buffer)
    }
}
