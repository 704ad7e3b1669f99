public import EspalierBasics
internal import EspalierNumerics

/// Tells bases apart: by their files, and by samples of their values, which are cheap to look at.
public struct BaseIdentity: Sendable, Hashable {
  /// Over all bytes.
  public var model: ModelIdentity
  /// Over names, shapes and 80 values of every parameter: the same wherever and however the values are stored.
  public var sample: Digest

  public init(model: ModelIdentity, sample: Digest) {
    self.model = model
    self.sample = sample
  }

  /// Reads all weight files.
  public init(of checkpoint: any Checkpoint, workers: WorkerPool) throws(Problem) {
    try self.init(model: ModelIdentity(of: checkpoint, workers: workers), sample: Self.sample(of: checkpoint))
  }

  private static let run = 16

  /// A digest of names, shapes and five runs of 16 values of every parameter, as float32.
  public static func sample(of checkpoint: any Checkpoint) throws(Problem) -> Digest {
    let files = FilePool()
    var bytes: [UInt8] = []
    for parameter in checkpoint.parameters {
      bytes += Array("\(parameter.name) \(parameter.shape)\n".utf8)
      let reader = try parameter.recipe.reader(files: files)
      let count = parameter.elementCount
      let length = min(run, count)
      let scratch = try AlignedBuffer(byteCount: max(64, reader.scratchBytes(for: length)))
      let values = try AlignedBuffer(count: run, of: Float.self)
      for place in 0...4 where count > 0 {
        let start = (count - length) / 4 * place
        do throws(Problem) {
          try reader.read(
            start..<start + length, into: values.address.assumingMemoryBound(to: Float.self), scratch: scratch.address)
        } catch { throw error.at(tensor: parameter.name) }
        bytes += values.bytes[..<(4 * length)]
      }
    }
    return bytes.withUnsafeBytes { Digest(of: $0) }
  }

  // MARK: - As files have it

  public var members: [(String, JSON)] {
    [
      ("weights", .string(model.weights.description)), ("config", .string(model.config.description)),
      ("sample", .string(sample.description)),
    ]
  }

  /// - Throws: `delta.format` if a digest is missing or is none.
  public init(_ json: JSON?) throws(Problem) {
    func digest(_ key: String) throws(Problem) -> Digest {
      guard let digest = json?[key]?.string.flatMap({ Digest($0) }) else {
        throw Problem(.deltaFormat, "the base's identity lacks the digest `\(key)`")
      }
      return digest
    }
    self.init(
      model: ModelIdentity(weights: try digest("weights"), config: try digest("config")),
      sample: try digest("sample"))
  }
}
