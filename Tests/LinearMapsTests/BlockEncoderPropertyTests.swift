import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierLinearMaps

/// Rows that searches find hard.
enum HardRows: CaseIterable {
  case bell, heavyTails, sparse, integers, powersOfTwo, scalesApart, nearlyConstant, neighbours, subnormal

  func numbers(_ count: Int, seed: Int) -> [Float] {
    var generator = TestGenerator(seed: seed)
    let bell = bellCurve(count, seed: seed &+ 1)
    func uniform() -> Float { Float.random(in: 0..<1, using: &generator) }
    return bell.indices.map { i in
      switch self {
      case .bell: bell[i] * 0.02
      case .heavyTails: bell[i] / max(abs(bell[(i + 7) % count]), 1e-4)
      case .sparse: uniform() < 0.1 ? bell[i] : 0
      case .integers: (bell[i] * 2).rounded()
      case .powersOfTwo: Float(sign: bell[i] < 0 ? .minus : .plus, exponent: Int(bell[i] * 4) - 8, significand: 1)
      case .scalesApart: bell[i] * Float(sign: .plus, exponent: i / 16 % 40 - 36, significand: 1)
      case .nearlyConstant: (i / 512 % 2 == 0 ? 1 : -1) * (0.3 + bell[i] * 1e-5)
      case .neighbours: (i / 512 % 2 == 0 ? 1 : -1) * (1 + (bell[i] * 2).rounded() * 0x1p-23)
      case .subnormal: bell[i] * 0x1p-130
      }
    }
  }
}

@Suite struct BlockEncoderPropertyTests {
  func importance(_ count: Int, seed: Int) -> [Float] {
    var generator = TestGenerator(seed: seed)
    // From 1e-4 to 1e2, a fifth of it zero.
    return generator.values(count, in: 0...1).map {
      $0 < 0.2 ? 0 : Float(sign: .plus, exponent: Int($0 * 20) - 13, significand: 1 + $0)
    }
  }

  @Test("Sixteen blocks at a time have the bytes of one after the other", arguments: weightTypes)
  func lanesAreThePortableTwin(type: BlockType) throws {
    for (index, kind) in HardRows.allCases.enumerated() {
      // Of 17 rows the last fills no lanes; a row of 768 numbers has three blocks of 256.
      for (rows, columns) in [(17, 768), (1, 512), (40, 256)] {
        let numbers = kind.numbers(rows * columns, seed: index)
        for weights in [nil, importance(columns, seed: index)] {
          for search in BlockEncoder.Search.allCases {
            #expect(
              try type.encoded(numbers, columns: columns, importance: weights, search: search)
                == type.encoded(numbers, columns: columns, importance: weights, search: search, portable: true),
              "\(search), \(kind), \(rows) x \(columns), \(weights == nil ? "without" : "with") importance")
          }
        }
      }
    }
  }

  @Test("However rows are split, and wherever they lie", arguments: weightTypes, BlockEncoder.Search.allCases)
  func rowsAreIndependent(type: BlockType, search: BlockEncoder.Search) throws {
    let (rows, columns) = (67, 768)
    let numbers = HardRows.heavyTails.numbers(rows * columns, seed: 5)
    for weights in [nil, importance(columns, seed: 6)] {
      let whole = try type.encoded(numbers, columns: columns, importance: weights, search: search)
      for cuts in [[0, 1, 18, 50, 67], Array(0...67)] {
        var parts: [UInt8] = []
        for (first, last) in zip(cuts, cuts.dropFirst()) {
          parts += try type.encoded(
            Array(numbers[first * columns..<last * columns]), columns: columns, importance: weights, search: search)
        }
        #expect(parts == whole)
      }
      // With gaps between the rows, which are not read.
      var spread = [Float](repeating: .nan, count: rows * 800)
      for row in 0..<rows {
        spread.replaceSubrange(row * 800..<row * 800 + columns, with: numbers[row * columns..<(row + 1) * columns])
      }
      #expect(try type.encoded(spread, columns: columns, stride: 800, importance: weights, search: search) == whole)
    }
  }

  @Test(arguments: weighedTypes)
  func zeroImportanceEverywhereIsNone(type: BlockType) throws {
    let numbers = HardRows.bell.numbers(3 * 512, seed: 7)
    #expect(
      try type.encoded(numbers, columns: 512, importance: [Float](repeating: 0, count: 512))
        == type.encoded(numbers, columns: 512))
  }

  @Test(arguments: weightTypes)
  func zerosStayZero(type: BlockType) throws {
    let zeros = [Float](repeating: 0, count: 512)
    for weights in [nil, importance(512, seed: 8)] {
      let decoded = type.decoded(try type.encoded(zeros, columns: 512, importance: weights))
      #expect(decoded.allSatisfy { $0 == 0 })
    }
  }

  @Test(arguments: weightTypes)
  func subnormalNumbersBecomeZero(type: BlockType) throws {
    let decoded = type.decoded(try type.encoded(HardRows.subnormal.numbers(1024, seed: 9), columns: 512))
    #expect(decoded.allSatisfy { abs($0) <= (type == .mxfp4 ? 0x1p-125 : 0) })
  }

  /// Relative to the constant: the scale's rounding to a half, or half a step where the type cannot have the number.
  @Test(arguments: weightTypes)
  func constantsAreKept(type: BlockType) throws {
    for constant: Float in [1, -1, 0.3, -0.3, 1000, -1000, 0.05] {
      let decoded = type.decoded(try type.encoded([Float](repeating: constant, count: 256), columns: 256))
      let bound: Float =
        switch type {
        case .mxfp4: 0.25
        // Codes of scales add their own.
        case .q6_K: 0.01
        case .q3_K, .iq4_xs, .q2_K, .q4_K, .q5_K: 0.02
        default: 0x1p-10
        }
      #expect(decoded.allSatisfy { abs($0 - constant) <= bound * abs(constant) }, "\(constant): \(decoded[0])")
    }
  }

  @Test(arguments: weightTypes)
  func oneLargeNumberIsKept(type: BlockType) throws {
    for large: Float in [100, -100] {
      var numbers = bellCurve(512, deviation: 0.01, seed: 10)
      numbers[300] = large
      let decoded = type.decoded(try type.encoded(numbers, columns: 512))
      #expect(abs(decoded[300] - large) <= 34 && abs(decoded[300] / large - 1) < 0.35, "\(decoded[300])")
    }
  }

  @Test("No number is further off than its type's step allows")
  func stepsBoundTheError() throws {
    for kind in [HardRows.bell, .heavyTails, .sparse, .integers, .nearlyConstant] {
      let numbers = kind.numbers(64 * 32, seed: 11)
      for type in [BlockType.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .mxfp4] {
        let decoded = type.decoded(try type.encoded(numbers, columns: 32))
        for block in stride(from: 0, to: numbers.count, by: 32) {
          let x = numbers[block..<block + 32]
          let most = x.map { abs($0) }.max() ?? 0
          let range = (x.max() ?? 0) - (x.min() ?? 0)
          // Half a step, but a whole one where the codes end short of the other extreme; an exponent below the largest
          // number makes the last codes of MXFP4 coarse. The half adds its rounding (2^-24 where it is subnormal).
          let step: Float =
            switch type {
            case .q8_0: most / 127 / 2
            case .q4_0: most / 8
            case .q5_0: most / 16
            case .q4_1: range / 15 / 2
            case .q5_1: range / 31 / 2
            default: most / 4
            }
          let bound = step * 1.001 + most * 0x1p-10 + 0x1p-24 * 128
          for i in x.indices {
            #expect(abs(decoded[i] - x[i]) <= bound, "\(type), \(kind): \(x[i]) became \(decoded[i])")
          }
        }
      }
    }
  }

  /// Root mean square of the error, relative, for a bell curve.
  func error(
    _ type: BlockType, _ numbers: [Float], weights: [Float]?, columns: Int, weighedBy: [Float],
    search: BlockEncoder.Search = .reference
  ) throws -> Double {
    let decoded = type.decoded(try type.encoded(numbers, columns: columns, importance: weights, search: search))
    var (error, total) = (0.0, 0.0)
    for (i, x) in numbers.enumerated() {
      let weight = Double(weighedBy[i % columns])
      error += weight * Double((decoded[i] - x) * (decoded[i] - x))
      total += weight * Double(x * x)
    }
    return (error / total).squareRoot()
  }

  @Test func moreBitsAreCloser() throws {
    let numbers = bellCurve(64 * 512, deviation: 0.02, seed: 12)
    let ones = [Float](repeating: 1, count: 512)
    let errors = try Dictionary(
      uniqueKeysWithValues: weightTypes.map {
        ($0, try error($0, numbers, weights: nil, columns: 512, weighedBy: ones))
      })
    // What these types are known to do on bell curves, a tenth more.
    let bounds: [BlockType: Double] = [
      .q8_0: 0.0062, .q6_K: 0.020, .q5_K: 0.041, .q5_1: 0.046, .q5_0: 0.049, .q4_K: 0.082, .iq4_xs: 0.083,
      .iq4_nl: 0.081,
      .q4_1: 0.095, .q4_0: 0.1, .mxfp4: 0.13, .q3_K: 0.17, .q2_K: 0.34,
    ]
    for (type, error) in errors { #expect(error < (bounds[type] ?? 0), "\(type): \(error)") }
  }

  @Test("With importance the error that counts is smaller", arguments: weighedTypes)
  func importanceHelpsWhereItCounts(type: BlockType) throws {
    let numbers = bellCurve(64 * 512, deviation: 0.02, seed: 13)
    let weights = importance(512, seed: 14)
    let with = try error(type, numbers, weights: weights, columns: 512, weighedBy: weights)
    let without = try error(type, numbers, weights: nil, columns: 512, weighedBy: weights)
    #expect(with < without, "\(with) against \(without)")
  }

  @Test("The refined search has less error that counts", arguments: weightTypes)
  func refinedIsCloser(type: BlockType) throws {
    let weights = importance(512, seed: 16)
    let ones = [Float](repeating: 1, count: 512)
    for kind in [HardRows.bell, .heavyTails, .sparse, .scalesApart] {
      let numbers = kind.numbers(64 * 512, seed: 17)
      for (given, counted) in [(nil, ones), (weights, weights)] {
        let reference = try error(type, numbers, weights: given, columns: 512, weighedBy: counted)
        let refined = try error(type, numbers, weights: given, columns: 512, weighedBy: counted, search: .refined)
        #expect(refined <= reference, "\(kind): \(refined) against \(reference)")
      }
    }
  }

  @Test("What is representable stays as it is", arguments: weightTypes)
  func refinedKeepsWhatIsExact(type: BlockType) throws {
    // What decodes from the reference's blocks.
    let start = HardRows.bell.numbers(16 * 512, seed: 18)
    let once = type.decoded(try type.encoded(start, columns: 512))
    let again = type.decoded(try type.encoded(once, columns: 512, search: .refined))
    let moved = zip(once, again).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    let size = once.reduce(0) { $0 + Double($1 * $1) }
    #expect(moved <= 1e-5 * size, "\((moved / size).squareRoot())")
  }

  @Test("What is decoded is encoded to the same bytes", arguments: [BlockType.q8_0, .q4_0, .q5_0])
  func encodingIsIdempotent(type: BlockType) throws {
    for kind in [HardRows.bell, .heavyTails, .integers] {
      let bytes = try type.encoded(kind.numbers(64 * 32, seed: 15), columns: 32)
      #expect(try type.encoded(type.decoded(bytes), columns: 32) == bytes, "\(kind)")
    }
  }
}
