internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Scaled dot-product attention (Vaswani et al. 2017) of several heads, of which groups may share keys and values:
///
///     y[t] = sum over s of softmax over s (scale q[t] . k[s]) v[s]
///
/// For a gradient: q, k, v and, a row and head, the logarithm of the softmax's denominator.
///
/// `y = attention(q, k, v, heads: h, keyValueHeads: g, scale: s)`. Settings: `causal` (default true: a token sees itself
/// and what came before, and keys and values are kept in the sequence's state; false: it sees the whole sequence of k
/// and v, which may be another one), `window` (sees positions nearer than this), `softCap` (scores are held within). A
/// fourth input, from `relativeBias`, is added to the scores.
///
/// Keys come in pages at fixed places of their sequence and are summed in their order, so the result for a token does
/// not depend on how the sequence was cut into calls.
struct AttentionOperation: SequenceOperation {
  static let name = "attention"
  static var mixesRows: Bool { true }
  private let heads: Int
  private let groups: Int
  private let keyWidth: Int
  private let valueWidth: Int
  let isCausal: Bool
  private let window: Int32?
  private let kernel: es_attention
  private let state: Int

  /// Keys and values that one token leaves in a sequence's state.
  var bytesPerToken: Int { isCausal ? groups * (keyWidth + valueWidth) * MemoryLayout<Float>.stride : 0 }

  /// Queries that walk over the pages together.
  private static let tile = 32

  init(_ binding: inout Binding) throws(Problem) {
    let isBiased = binding.inputWidths.count == 4
    try binding.expect(inputs: isBiased ? 4 : 3)
    let statement = binding.statement
    heads = try statement.integer("heads")
    groups = statement.has("keyValueHeads") ? try statement.integer("keyValueHeads") : heads
    let widths = binding.inputWidths
    guard (1...widths[0]).contains(heads), groups > 0, heads % groups == 0, widths[0] % heads == 0,
      widths[1] % groups == 0,
      widths[2] % groups == 0, widths[0] / heads == widths[1] / groups
    else {
      throw binding.problem("cannot share rows of \(widths) among \(heads) heads and \(groups) key-value heads")
    }
    let rows = binding.inputRows
    guard !isBiased || (rows[3] == .heads(heads) && widths[3] % 2 == 1) else {
      throw binding.problem("needs the bias of \(heads) heads from `relativeBias`")
    }
    keyWidth = widths[1] / groups
    valueWidth = widths[2] / groups
    isCausal = statement.has("causal") ? try statement.truth("causal") : true
    guard rows[1] == rows[2], let batch = rows[0].batch, batch == rows[1].batch, !isCausal || rows[0] == rows[1] else {
      throw binding.problem("cannot look from rows \(rows[0]) at keys \(rows[1]) and values \(rows[2])")
    }
    window = statement.has("window") ? Int32(clamping: try statement.integer("window")) : nil
    guard window ?? 1 > 0 else { throw binding.problem("sees nothing through a window of \(window ?? 0)") }
    let scale = Float(try statement.number("scale"))
    let softCap = statement.has("softCap") ? Float(try statement.number("softCap")) : 0
    kernel = es_attention(
      key_width: Int64(keyWidth), value_width: Int64(valueWidth), scale: scale, softcap: softCap)
    state = isCausal ? binding.state() : -1
    binding.outputWidths = [heads * valueWidth]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let (q, k, v) = (inputs[0], inputs[1], inputs[2])
    let bias = inputs.count == 4 ? inputs[3] : nil
    guard k.rows == v.rows, q.segments.count == k.segments.count else {
      throw Problem(.networkInput, "pictures of this size give \(k.rows) keys and \(v.rows) values")
    }
    let y = try run.activation(width: heads * valueWidth, segments: q.segments)
    var sequences: [KeyValuePages]
    if isCausal, let states = run.states {
      sequences = states.map { $0.pages(state, keyWidth: keyWidth, valueWidth: valueWidth, heads: groups) }
    } else {
      sequences = run.workspace.pages(
        k.segments.count, keyWidth: keyWidth, valueWidth: valueWidth, heads: groups)
    }
    var tiles: [Tile] = []
    var firsts: [Int] = []
    for (sequence, pages) in sequences.enumerated() {
      firsts.append(pages.count)
      try pages.extend(by: k.segments.positions[k.segments.rows(of: sequence)])
      let rows = q.segments.rows(of: sequence)
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.tile) {
        tiles.append(Tile(sequence: sequence, rows: start..<min(rows.upperBound, start + Self.tile)))
      }
    }
    // Few rows, one tile of each sequence: one loop stores what is new and attends at once.
    if tiles.lazy.map(\.sequence).elementsEqual(sequences.indices), tiles.count * groups <= 64 {
      try run.pool.forEach(tiles.count * groups) { index in
        let tile = tiles[index / groups]
        let pages = sequences[tile.sequence]
        store(k, v, sequence: tile.sequence, head: index % groups, in: pages, from: firsts[tile.sequence])
        attend(q, y, tile, head: index % groups, to: pages, bias: bias)
      }
    } else {
      try run.pool.forEach(sequences.count * groups) { index in
        let sequence = index / groups
        store(
          k, v, sequence: sequence, head: index % groups, in: sequences[sequence], from: firsts[sequence])
      }
      try run.pool.forEach(tiles.count * groups) { index in
        let tile = tiles[index / groups]
        attend(q, y, tile, head: index % groups, to: sequences[tile.sequence], bias: bias)
      }
    }
    return [y]
  }

  private struct Tile {
    var sequence: Int
    var rows: Range<Int>
  }

  private func store(
    _ k: Activation, _ v: Activation, sequence: Int, head: Int, in pages: KeyValuePages, from first: Int
  ) {
    for (index, row) in k.segments.rows(of: sequence).enumerated() {
      pages.put(
        k.floats + row * k.width + head * keyWidth, v.floats + row * v.width + head * valueWidth, head: head,
        slot: first + index)
    }
  }

  /// The queries of one tile and of all heads that share key-value head `head`.
  private func attend(
    _ q: Activation, _ y: Activation, _ tile: Tile, head: Int, to pages: KeyValuePages, bias: Activation?
  ) {
    let shared = heads / groups
    let ranges = tile.rows.map { visible(from: q.segments.positions[$0], in: pages) }
    var biases = [Float](repeating: 0, count: bias == nil ? 0 : tile.rows.count * shared * KeyValuePages.length)
    var queries: [es_attention_query] = []
    queries.reserveCapacity(tile.rows.count * shared)
    for row in tile.rows {
      for inner in head * shared..<(head + 1) * shared {
        let out = y.floats + row * y.width + inner * valueWidth
        out.update(repeating: 0, count: valueWidth)
        queries.append(
          es_attention_query(
            query: q.floats + row * q.width + inner * keyWidth, bias: nil, out: out, first: 0, last: 0,
            maximum: -.infinity, sum: 0))
      }
    }
    let first = (ranges.map(\.lowerBound).min() ?? 0) / KeyValuePages.length
    let end = ((ranges.map(\.upperBound).max() ?? 0) + KeyValuePages.length - 1) / KeyValuePages.length
    queries.withUnsafeMutableBufferPointer { queries in
      biases.withUnsafeMutableBufferPointer { biases in
        for page in first..<max(first, end) {
          let start = page * KeyValuePages.length
          // Queries stand in the order of their positions: those that see something of a page are neighbours.
          var seeing = 0..<0
          for (index, range) in ranges.enumerated() {
            let (from, to) = (max(0, range.lowerBound - start), min(KeyValuePages.length, range.upperBound - start))
            guard from < to else { continue }
            let keys = from..<to
            seeing = (seeing.isEmpty ? index : seeing.lowerBound)..<index + 1
            for inner in 0..<shared {
              let place = index * shared + inner
              (queries[place].first, queries[place].last) = (Int64(keys.lowerBound), Int64(keys.upperBound))
              guard let bias, let own = biases.baseAddress.map({ $0 + place * KeyValuePages.length }) else { continue }
              fill(
                own, bias, head: head * shared + inner, from: q.segments.positions[tile.rows.lowerBound + index], pages,
                start, keys)
              queries[place].bias = UnsafePointer(own)
            }
          }
          guard !seeing.isEmpty, let address = queries.baseAddress else { continue }
          withUnsafePointer(to: kernel) { kernel in
            es_attention_page(
              kernel, Int64(seeing.count * shared), address + seeing.lowerBound * shared,
              pages.keys(page: page, head: head), pages.values(page: page, head: head))
          }
        }
      }
    }
    for query in queries { es_attention_finish(query.sum, query.out, Int64(valueWidth)) }
  }

  /// The biases of the keys that a query at `position` sees in one page; those that are too far away count as the
  /// farthest.
  private func fill(
    _ biases: UnsafeMutablePointer<Float>, _ bias: Activation, head: Int, from position: Int32,
    _ pages: KeyValuePages, _ start: Int, _ keys: Range<Int>
  ) {
    let row = bias.floats + head * bias.width
    pages.positions.withUnsafeBufferPointer { positions in
      es_attention_bias(
        row, Int32(bias.width / 2), positions.baseAddress! + start, Int64(keys.upperBound), position, biases)
    }
  }

  /// The keys that a query at `position` sees.
  private func visible(from position: Int32, in pages: KeyValuePages) -> Range<Int> {
    let end = isCausal ? pages.firstKey(at: position + 1) : pages.count
    guard let window else { return 0..<end }
    let start = pages.firstKey(at: position.subtractingReportingOverflow(window - 1).partialValue)
    if isCausal { return min(start, end)..<end }
    return start..<max(start, pages.firstKey(at: position.addingReportingOverflow(window).partialValue))
  }
}
