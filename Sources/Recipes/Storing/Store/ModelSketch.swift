internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// A few numbers of every tensor of a file, from which it is guessed what coding another file against it would take.
///
/// A guess decides which bytes a file is coded against, never what comes back.
struct ModelSketch: Hashable {
  struct Tensor: Hashable {
    var name: String
    var type: ElementType
    var byteCount: Int
    /// Where it begins in the file.
    var offset: Int
    /// Bits of elements at even distances.
    var samples: [UInt64]
  }

  /// In the order of the file.
  let tensors: [Tensor]

  /// Samples of a tensor: the guessed length of a difference is then right to a third of a bit.
  static let sampleCount = 32
  /// Shorter tensors decide nothing.
  private static let leastBytes = 4096

  init(tensors: [Tensor]) { self.tensors = tensors }

  /// Reads samples of every part.
  init(of header: ArchiveHeader, in file: any ByteSource) throws(Problem) {
    var (tensors, offset) = ([Tensor](), 0)
    for part in header.parts {
      defer { offset += part.byteCount }
      guard part.byteCount >= Self.leastBytes else { continue }
      let (width, elements) = (part.type.byteWidth, part.byteCount / part.type.byteWidth)
      let samples = try (0..<Self.sampleCount).map { (index) throws(Problem) -> UInt64 in
        let place = (2 * index + 1) * elements / (2 * Self.sampleCount)
        return try file.read(width, at: offset + place * width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
      }
      tensors.append(
        Tensor(name: part.name, type: part.type, byteCount: part.byteCount, offset: offset, samples: samples))
    }
    self.tensors = tensors
  }

  // MARK: - Guesses

  /// What tells tensors to be the same, whatever their names.
  struct Look: Hashable {
    var type: ElementType
    var byteCount: Int
    var samples: [UInt64]
  }

  // MARK: - As JSON

  private static let formatVersion = 1

  var json: JSON {
    [
      "espalier_sketch": .number(Self.formatVersion),
      "tensors": .array(
        tensors.map { tensor in
          let digits = 2 * tensor.type.byteWidth
          let samples = tensor.samples.map { sample in
            let text = String(sample, radix: 16)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
          }
          return [
            .string(tensor.name), .string(tensor.type.rawValue), .number(tensor.byteCount), .number(tensor.offset),
            .string(samples.joined()),
          ]
        }),
    ]
  }

  /// Nil for what is no sketch.
  init?(_ json: JSON) {
    guard json["espalier_sketch"]?.integer == Self.formatVersion, let entries = json["tensors"]?.array else {
      return nil
    }
    var tensors: [Tensor] = []
    for entry in entries {
      guard let words = entry.array, words.count == 5, let name = words[0].string,
        let type = words[1].string.flatMap({ ElementType(rawValue: $0) }), let bytes = words[2].integer, bytes > 0,
        let offset = words[3].integer, offset >= 0,
        let samples = words[4].string.flatMap({ Self.samples($0, of: type) })
      else { return nil }
      tensors.append(Tensor(name: name, type: type, byteCount: bytes, offset: offset, samples: samples))
    }
    self.tensors = tensors
  }

  init?(inFile path: String) {
    guard let bytes = try? FileSystem.read(path), let json = try? JSON(parsing: bytes) else { return nil }
    self.init(json)
  }

  private static func samples(_ text: String, of type: ElementType) -> [UInt64]? {
    let (digits, count) = (Array(text.utf8), 2 * type.byteWidth)
    guard digits.count == sampleCount * count else { return nil }
    let samples = (0..<sampleCount).compactMap { index in
      UInt64(String(decoding: digits[index * count..<(index + 1) * count], as: UTF8.self), radix: 16)
    }
    return samples.count == sampleCount ? samples : nil
  }
}

extension ModelSketch.Tensor {
  private var elementCount: Double { Double(byteCount / type.byteWidth) }

  var look: ModelSketch.Look { ModelSketch.Look(type: type, byteCount: byteCount, samples: samples) }

  /// Bits that coding it by itself takes, roughly: exponents of gaussian numbers shrink to 2.55 bits, mantissas not at all;
  /// a constant takes nothing.
  var plainBits: Double {
    guard samples.contains(where: { $0 != samples[0] }) else { return 0 }
    let exponent: Double =
      switch type {
      case .f64: 11
      case .f32, .bf16: 8
      case .f16, .f8e5m2: 5
      case .f8e4m3: 4
      default: 2.55
      }
    return elementCount * (Double(8 * type.byteWidth) - exponent + 2.55)
  }

  /// Bits that coding it against another of its type and length takes, roughly: of each number the length of the
  /// difference and its sign, and what a code of such lengths adds.
  func bits(against other: ModelSketch.Tensor) -> Double {
    guard type == other.type, byteCount == other.byteCount else { return plainBits }
    if samples == other.samples { return 0 }
    guard type.isFloat else { return plainBits }
    let lengths = zip(samples, other.samples).map { Self.length($0, $1, width: type.byteWidth) }
    return elementCount * Double(lengths.reduce(0, +)) / Double(samples.count)
  }

  /// Of the difference of two floats as ordered integers; 0 if there is none.
  private static func length(_ a: UInt64, _ b: UInt64, width: Int) -> Int {
    func ordered(_ bits: UInt64) -> Int64 {
      let sign = UInt64(1) << (8 * width - 1)
      return bits & sign == 0 ? Int64(bits) : -Int64(bits & (sign - 1))
    }
    let difference = ordered(a).subtractingReportingOverflow(ordered(b)).partialValue.magnitude
    return difference == 0 ? 0 : UInt64.bitWidth - difference.leadingZeroBitCount + 2
  }
}
