internal import EspalierBasics
internal import EspalierCheckpoints

/// Which stored files a file is packed against, tensor by tensor, as sketches guess.
///
/// The file that saves most is taken first, then the one that saves most of what is left, as long as it is worth it: so a
/// model put together from several finds the tensors of each.
struct BaseChoice {
  struct Candidate {
    var object: StoredObject
    var sketch: ModelSketch
  }

  /// Files to be packed against, in the order in which they were taken.
  private(set) var objects: [StoredObject] = []
  /// Of the tensors that have one, which file and where in it, by where they begin themselves.
  private(set) var places: [Int: ArchiveHeader.Place] = [:]

  /// A file can have as many bases.
  private static let mostBases = 8
  /// A base saves at least this share of the file, or as many bytes.
  private static let (leastShare, leastBytes) = (0.01, 1 << 20)
  /// A tensor is coded against another if that saves at least this share of it: guesses are rough.
  private static let leastGain = 1.0 / 32
  /// How many files may stand behind one another; each is to be decoded too.
  static let longestChain = 4
  /// What a file in the chain should save at least to be worth decoding.
  private static let shareForDepth = 0.02

  /// - Parameters:
  ///   - candidates: in an order that is the same whenever they are.
  ///   - depth: how many files stand behind one.
  init(for sketch: ModelSketch, among candidates: [Candidate], depth: (StoredObject) -> Int?) {
    var costs = sketch.tensors.map(\.plainBits)
    let whole = costs.reduce(0, +)
    let least = min(Self.leastShare * whole, Double(8 * Self.leastBytes))
    guard least > 0 else { return }
    var matches: [(candidate: Candidate, found: [Match?])] = candidates.map { candidate in
      (candidate, Self.matches(for: sketch, in: candidate.sketch))
    }
    while objects.count < Self.mostBases {
      func saving(_ found: [Match?]) -> Double {
        zip(found, costs).reduce(0) { sum, pair in sum + (pair.0.map { max(0, pair.1 - $0.bits) } ?? 0) }
      }
      var best: (index: Int, saving: Double, worth: Double)?
      for index in matches.indices {
        let bits = saving(matches[index].found)
        guard bits >= least, bits > best?.worth ?? 0 else { continue }
        guard let depth = depth(matches[index].candidate.object), depth < Self.longestChain else { continue }
        let worth = bits - Double(depth) * Self.shareForDepth * whole
        if worth > best?.worth ?? 0 { best = (index, bits, worth) }
      }
      guard let best else { return }
      let (candidate, found) = matches.remove(at: best.index)
      for (index, match) in found.enumerated() {
        guard let match, match.bits < costs[index] else { continue }
        costs[index] = match.bits
        places[sketch.tensors[index].offset] = ArchiveHeader.Place(file: objects.count, offset: match.offset)
      }
      objects.append(candidate.object)
    }
  }

  private struct Match {
    var offset: Int
    var bits: Double
  }

  /// Of each tensor the one that looks the same, whatever its name, else the one with its name if it is near.
  private static func matches(for sketch: ModelSketch, in other: ModelSketch) -> [Match?] {
    var named: [ExactString: ModelSketch.Tensor] = [:]
    var looking: [ModelSketch.Look: ModelSketch.Tensor] = [:]
    for tensor in other.tensors {
      named[ExactString(tensor.name)] = tensor
      looking[tensor.look] = looking[tensor.look] ?? tensor
    }
    return sketch.tensors.map { tensor in
      let plain = tensor.plainBits
      guard plain > 0 else { return nil }
      let sameName = named[ExactString(tensor.name)]
      let found = sameName?.samples == tensor.samples ? sameName : looking[tensor.look] ?? sameName
      guard let found else { return nil }
      let bits = tensor.bits(against: found)
      return bits < (1 - leastGain) * plain ? Match(offset: found.offset, bits: bits) : nil
    }
  }
}

extension ArchiveHeader {
  /// Gives parts their places in the base.
  mutating func align(_ choice: BaseChoice, with files: [(path: String, byteCount: Int)]) {
    base = files.map { BaseFile(path: $0.path, byteCount: $0.byteCount) }
    var offset = 0
    for index in parts.indices {
      defer { offset += parts[index].byteCount }
      guard let place = choice.places[offset], base.indices.contains(place.file),
        parts[index].byteCount <= base[place.file].byteCount - place.offset
      else { continue }
      parts[index].base = place
    }
    if !parts.contains(where: { $0.base != nil }) { base = [] }
  }
}
