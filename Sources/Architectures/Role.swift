/// What a parameter is for: the part of the network it belongs to, and whether it is that part's bias.
///
/// Written `attentionQuery` or `attentionQuery.bias` in a description.
public struct Role: Sendable, Hashable, CustomStringConvertible {
  public enum Part: String, Sendable, Hashable, CaseIterable {
    /// Token embeddings `[vocabulary, hidden]`.
    case embedding
    case positionEmbedding, typeEmbedding, patchEmbedding, classToken
    /// T5's table of biases by relative distance.
    case relativePosition
    /// The projection to logits over the vocabulary.
    case headProjection
    /// What a masked-language-model head does before its projection.
    case headTransform
    case pooler, classifier
    /// From one tower's stream into another's.
    case projector
    case attentionQuery, attentionKey, attentionValue, attentionOutput
    /// Queries, keys and values in one tensor, labelled `query`, `key`, `value`.
    case attentionQueryKeyValue
    /// Attention of a decoder to its encoder.
    case crossAttentionQuery, crossAttentionKey, crossAttentionValue, crossAttentionOutput
    /// Multi-head latent attention: down to the latent, and up from it.
    case attentionQueryDown, attentionQueryUp, attentionKeyValueDown, attentionKeyValueUp
    /// A learnt logit a head that attends to nothing.
    case attentionSink
    case feedForwardGate, feedForwardUp, feedForwardDown
    /// Gate and up in one tensor, labelled `gate`, `up`.
    case feedForwardGateUp
    case router, sharedExpertGate
    case norm
    case convolution
    /// Mamba: into the mixer, to (step, B, C), step sizes, decay A, skip D, out of the mixer.
    case stateSpaceInput, stateSpaceSelection, stateSpaceStep, stateSpaceDecay, stateSpaceSkip, stateSpaceOutput
    /// Measured, not learnt: running mean and variance of a batch norm.
    case statistic
    /// Stored by some writers although it follows from the config, e.g. a causal mask.
    case buffer
  }

  public let part: Part
  public let isBias: Bool

  public init(_ part: Part, isBias: Bool = false) {
    self.part = part
    self.isBias = isBias
  }

  init?(parsing text: String) {
    let isBias = text.hasSuffix(".bias")
    guard let part = Part(rawValue: isBias ? String(text.dropLast(5)) : text) else { return nil }
    self.init(part, isBias: isBias)
  }

  public var description: String { part.rawValue + (isBias ? ".bias" : "") }
}
