internal import CKernels
public import EspalierBasics
internal import EspalierNetworks
internal import EspalierNumerics

extension Problem.Code {
  /// Logits that are NaN or infinite.
  public static let evaluationLogits = Problem.Code("evaluation.logits")
  /// Two models that cannot be compared token by token.
  public static let evaluationPair = Problem.Code("evaluation.pair")
  /// Data that gives nothing to score, or does not fit the model.
  public static let evaluationData = Problem.Code("evaluation.data")
}

/// Runs sequences through one model, or through two side by side, and scores their targets row by row.
///
/// Sequences run in groups whose states fit the options; of these the rows that predict targets are gathered into
/// tiles, whose logits are computed and scored. Each row's score is its own, sums are left to the caller, in the order
/// of sequences and rows: groups, tiles and threads change nothing.
struct Scorer {
  let models: [EvaluatedModel]
  let options: EvaluationOptions
  private let vocabularySize: Int

  /// - Throws: `evaluation.pair` if the models have vocabularies of different sizes.
  init(_ models: [EvaluatedModel], options: EvaluationOptions) throws(Problem) {
    self.models = models
    self.options = options
    vocabularySize = models.first?.model.vocabularySize ?? 0
    for other in models.dropFirst() where other.model.vocabularySize != vocabularySize {
      throw Problem(
        .evaluationPair,
        "\(models[0].name) has \(vocabularySize) tokens and \(other.name) has \(other.model.vocabularySize)",
        remedy: "Distributions are compared token by token; models of different vocabularies are compared by bits "
          + "per byte, each by itself.")
    }
  }

  /// Scores by one model: calls `each` with the scores of each sequence's targets, in order.
  func scoreTokens(
    of sequences: [ScoredSequence], stage: String,
    each: (Int, UnsafeBufferPointer<es_token_score>) throws(Problem) -> Void
  ) throws(Problem) {
    let size = Int64(vocabularySize)
    try run(sequences, stage: stage, empty: es_token_score()) { tiles, offset, target, score in
      es_score_token(tiles[0] + offset, size, target, score)
    } each: { (index, scores) throws(Problem) in
      try each(index, scores)
    }
  }

  /// Compares the second model with the first: calls `each` with what each sequence's targets say, in order.
  func compareTokens(
    of sequences: [ScoredSequence], stage: String,
    each: (Int, UnsafeBufferPointer<es_token_divergence>) throws(Problem) -> Void
  ) throws(Problem) {
    let size = Int64(vocabularySize)
    try run(sequences, stage: stage, empty: es_token_divergence()) { tiles, offset, target, divergence in
      es_compare_token(tiles[0] + offset, tiles[1] + offset, size, target, divergence)
    } each: { (index, scores) throws(Problem) in
      try each(index, scores)
    }
  }

  // MARK: - Groups

  /// Sequences that run together; those that follow one another with the same input share one run.
  private struct Group {
    var inputs: [[Int32]] = []
    /// Which input each sequence reads.
    var inputOfSequence: [Int] = []

    init(_ sequences: ArraySlice<ScoredSequence>, tokens limit: Int) {
      var tokens = 0
      for sequence in sequences {
        if sequence.input != inputs.last {
          guard inputs.isEmpty || tokens + sequence.input.count <= limit else { return }
          tokens += sequence.input.count
          inputs.append(sequence.input)
        }
        inputOfSequence.append(inputs.count - 1)
      }
    }
  }

  private func run<Score: BitwiseCopyable>(
    _ sequences: [ScoredSequence], stage: String, empty: Score,
    score: (_ tiles: [UnsafeMutablePointer<Float>], _ offset: Int, Int32, UnsafeMutablePointer<Score>) -> Bool,
    each: (Int, UnsafeBufferPointer<Score>) throws(Problem) -> Void
  ) throws(Problem) {
    for sequence in sequences { try check(sequence) }
    let began = Machine.monotonicSeconds
    let tokenBytes = MemoryLayout<Int32>.stride
    options.listener.receive(
      .began(stage: stage, totalBytes: sequences.reduce(0) { $0 + $1.input.count } * tokenBytes))
    let tileRows = max(1, options.logitBytes / max(1, vocabularySize * MemoryLayout<Float>.stride * models.count))
    var tiles: [AlignedBuffer] = []
    // Pages of a tile that no row reaches take no memory.
    for _ in models { tiles.append(try AlignedBuffer(count: tileRows * vocabularySize, of: Float.self)) }
    let addresses = tiles.compactMap(\.floats.baseAddress)

    var start = 0
    while start < sequences.count {
      let group = Group(sequences[start...], tokens: options.groupTokens)
      let members = start..<start + group.inputOfSequence.count
      var states: [FinalStates] = []
      for evaluated in models {
        do throws(Problem) { states.append(try evaluated.model.finalStates(of: group.inputs)) } catch {
          throw error.at(file: evaluated.name)
        }
      }
      let rows = zip(members, group.inputOfSequence).flatMap { member, input in
        sequences[member].targets.indices.map {
          ScoredRow(sequence: member, input: input, row: sequences[member].firstRow + $0, target: $0)
        }
      }
      var scores = [Score](repeating: empty, count: rows.count)
      for first in stride(from: 0, to: rows.count, by: tileRows) {
        let tile = rows[first..<min(first + tileRows, rows.count)]
        for (index, evaluated) in models.enumerated() {
          let gathered = try Self.gather(tile, from: states[index])
          try evaluated.model.logits(of: gathered, rows: 0..<tile.count, into: addresses[index])
        }
        let failure = try Self.withBase(of: &scores) { (base) throws(Problem) in
          try options.pool.forEach(tile.count) { (index) throws(Problem) in
            let row = tile[first + index]
            let target = sequences[row.sequence].targets[row.target]
            guard score(addresses, index * vocabularySize, target, base + first + index) else {
              throw notFinite(row, tileRow: index, addresses)
            }
          }
        }
        if let failure { throw failure }
      }
      var done = 0
      for member in members {
        let count = sequences[member].targets.count
        let failure: Problem? = scores[done..<done + count].withUnsafeBufferPointer { scores in
          do throws(Problem) {
            try each(member, scores)
            return nil
          } catch { return error }
        }
        if let failure { throw failure }
        done += count
      }
      options.listener.receive(.advanced(bytes: group.inputs.reduce(0) { $0 + $1.count } * tokenBytes))
      start = members.upperBound
    }
    options.listener.receive(.ended(stage: stage, seconds: Machine.monotonicSeconds - began))
  }

  /// Where a target is and what predicts it.
  private struct ScoredRow {
    var sequence: Int
    var input: Int
    var row: Int
    var target: Int
  }

  private static func withBase<Score>(
    of scores: inout [Score], _ body: (UnsafeMutablePointer<Score>) throws(Problem) -> Void
  ) throws(Problem) -> Problem? {
    scores.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return nil }
      do throws(Problem) {
        try body(base)
        return nil
      } catch { return error }
    }
  }

  /// The states of rows that need not follow one another, as one sequence.
  private static func gather(_ rows: ArraySlice<ScoredRow>, from states: FinalStates) throws(Problem) -> FinalStates {
    let width = states.width
    let gathered = try AlignedBuffer(count: rows.count * width, of: Float.self)
    guard let source = states.values.floats.baseAddress, let target = gathered.floats.baseAddress else {
      return FinalStates(starts: [0, 0], width: width, values: gathered)
    }
    for (index, row) in rows.enumerated() {
      let stateRow = states.starts[row.input] + row.row
      (target + index * width).update(from: source + stateRow * width, count: width)
    }
    return FinalStates(starts: [0, rows.count], width: width, values: gathered)
  }

  // MARK: - Problems

  private func check(_ sequence: ScoredSequence) throws(Problem) {
    guard (0...sequence.input.count).contains(sequence.firstRow),
      sequence.targets.count <= sequence.input.count - sequence.firstRow
    else { throw Problem(.evaluationData, "a sequence has targets without a row that predicts them") }
    for token in sequence.targets where token < 0 || Int(token) >= vocabularySize {
      throw Problem(
        .evaluationData, "token \(token) of the data is not among the model's \(vocabularySize)",
        remedy: "Use the tokenizer that belongs to the model.", file: models.first?.name)
    }
    for evaluated in models {
      guard let limit = evaluated.model.contextLength, sequence.input.count > limit else { continue }
      throw Problem(
        .evaluationData,
        "a sequence has \(sequence.input.count) tokens and the model was made for at most \(limit)",
        remedy: "Choose windows of at most \(limit) tokens.", file: evaluated.name)
    }
  }

  private func notFinite(_ row: ScoredRow, tileRow: Int, _ tiles: [UnsafeMutablePointer<Float>]) -> Problem {
    let guilty = tiles.firstIndex { tile in
      es_first_nonfinite(tile + tileRow * vocabularySize, Int64(vocabularySize)) >= 0
    }
    return Problem(
      .evaluationLogits,
      "the model gives logits that are NaN or infinite after token \(row.row + 1) of sequence \(row.sequence + 1)",
      remedy: "Its weights hold NaN or infinity, or its numbers outgrow float32; `espalier inspect --norms` tells.",
      file: models[guilty ?? 0].name)
  }
}
