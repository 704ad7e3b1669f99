public import EspalierBasics

/// What goes into a network, by the names of transformers; padding is marked by masks and never enters.
public struct NetworkInputs: Sendable {
  /// Pictures `[count, channels, height, width]`, row-major.
  public struct Pictures: Sendable {
    public let count, channels, height, width: Int
    public let values: [Float]

    /// - Throws: `network.input` if the number of values does not fit, or one is NaN or infinite.
    public init(count: Int, channels: Int, height: Int, width: Int, values: [Float]) throws(Problem) {
      let shape = [count, channels, height, width]
      guard shape.allSatisfy({ (1..<1 << 20).contains($0) }),
        (count * channels).multipliedReportingOverflow(by: height * width) == (values.count, false)
      else {
        throw Problem(.networkInput, "\(values.count) values do not make pictures of the shape \(shape)")
      }
      if let place = values.firstIndex(where: { !$0.isFinite }) {
        let (row, x) = place.quotientAndRemainder(dividingBy: width)
        let index = [row / height / channels, row / height % channels, row % height, x]
        throw Problem(.networkInput, "pixel_values is \(values[place]) at \(index): every pixel must be finite")
      }
      (self.count, self.channels, self.height, self.width) = (count, channels, height, width)
      self.values = values
    }
  }

  /// Tokens of each sequence (`input_ids`).
  public var tokens: [[Int32]]
  /// For each token whether it counts (`attention_mask`); nil: all do.
  public var mask: [[Bool]]?
  /// Segment numbers (`token_type_ids`); nil: all 0.
  public var types: [[Int32]]?
  /// Tokens of each decoder sequence (`decoder_input_ids`), and which count.
  public var decoderTokens: [[Int32]]?
  public var decoderMask: [[Bool]]?
  /// `pixel_values`.
  public var pictures: Pictures?

  public init(
    tokens: [[Int32]] = [], mask: [[Bool]]? = nil, types: [[Int32]]? = nil, decoderTokens: [[Int32]]? = nil,
    decoderMask: [[Bool]]? = nil, pictures: Pictures? = nil
  ) {
    self.tokens = tokens
    self.mask = mask
    self.types = types
    self.decoderTokens = decoderTokens
    self.decoderMask = decoderMask
    self.pictures = pictures
  }
}

extension NetworkInputs {
  /// Which tokens count, checked: every sequence has one at least.
  ///
  /// - Parameter prefix: what stands before the names of both: `decoder_`.
  static func kept(_ tokens: [[Int32]], _ mask: [[Bool]]?, prefix: String = "") throws(Problem) -> [[Int]] {
    if let mask, mask.count != tokens.count || zip(mask, tokens).contains(where: { $0.count != $1.count }) {
      throw Problem(.networkInput, "\(prefix)attention_mask has another shape than \(prefix)input_ids")
    }
    var kept: [[Int]] = []
    for (index, sequence) in tokens.enumerated() {
      let rows = sequence.indices.filter { mask?[index][$0] ?? true }
      guard !rows.isEmpty else {
        throw Problem(.networkInput, "sequence \(index) of \(prefix)input_ids has no token that counts")
      }
      kept.append(rows)
    }
    return kept
  }

  static func segments(_ kept: [[Int]]) -> Segments {
    var starts = [0]
    for rows in kept { starts.append(starts[starts.count - 1] + rows.count) }
    return Segments(starts: starts, positions: kept.flatMap { $0.map { Int32(clamping: $0) } })
  }

  static func taken(_ values: [[Int32]], _ kept: [[Int]]) -> [Int32] {
    zip(values, kept).flatMap { values, rows in rows.map { values[$0] } }
  }

  /// The slots a batch fills.
  ///
  /// - Parameter skipping: the token without a position, where positions count the others (RoBERTa).
  func activations(skipping: Int?) throws(Problem) -> [String: SlotValue] {
    var slots: [String: SlotValue] = [:]
    func add(_ name: String, _ indices: [Int32], _ segments: Segments) {
      slots[name] = .indices(IndexRows(values: indices, segments: segments))
    }
    if !tokens.isEmpty {
      let kept = try Self.kept(tokens, mask)
      let segments = Self.segments(kept)
      add("tokens", Self.taken(tokens, kept), segments)
      if let types, types.count != tokens.count || zip(types, tokens).contains(where: { $0.count != $1.count }) {
        throw Problem(.networkInput, "token_type_ids has another shape than input_ids")
      }
      add("types", types.map { Self.taken($0, kept) } ?? Array(repeating: 0, count: segments.rows), segments)
      add("positions", skipping.map { positions(skipping: $0, kept) } ?? segments.positions, segments)
    }
    if let decoderTokens {
      guard decoderTokens.count == tokens.count else {
        throw Problem(
          .networkInput,
          "decoder_input_ids has \(decoderTokens.count) sequences, and input_ids has \(tokens.count)")
      }
      let kept = try Self.kept(decoderTokens, decoderMask, prefix: "decoder_")
      add("decoderTokens", Self.taken(decoderTokens, kept), Self.segments(kept))
    }
    if let pictures { slots["pixels"] = .floats(try pictures.activation()) }
    guard !slots.isEmpty else { throw Problem(.networkInput, "there is nothing to run the network on") }
    return slots
  }

  /// The tensor that fills a slot, by the name people know it by.
  static func tensorName(ofSlot slot: String) -> String {
    switch slot {
    case "types": "token_type_ids"
    case "decoderTokens": "decoder_input_ids"
    case "pixels": "pixel_values"
    default: "input_ids"
    }
  }

  /// Tokens that are not `padding` count from `padding` + 1, masked ones included.
  private func positions(skipping padding: Int, _ kept: [[Int]]) -> [Int32] {
    zip(tokens, kept).flatMap { tokens, rows in
      var position = Int32(clamping: padding)
      let all = tokens.map { token in
        if token == padding { return Int32(clamping: padding) }
        position += 1
        return position
      }
      return rows.map { all[$0] }
    }
  }
}
