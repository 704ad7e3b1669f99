import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport

/// A problem of `Fixtures/compression`: a weight, its inputs, and what an independent implementation in float64 made of
/// them.
struct FactorizationGolden {
  static let names = ["p64x96", "p96x64_lowrank_x", "p128x256_singular"]

  let weight: Matrix<Float>
  /// `[samples, inputs]`.
  let inputs: Matrix<Double>
  let statistics: SiteStatistics
  let bias: [Double]
  private let cases: [JSON]
  private let arrays: [String: [Double]]

  init(_ name: String) throws {
    let base = "\(FileSystem.parent(of: #filePath))/Fixtures/compression/\(name)"
    let file = try File.reading(base + ".safetensors")
    var arrays: [String: [Double]] = [:]
    var shapes: [String: [Int]] = [:]
    for tensor in try SafetensorsHeader(reading: file).tensors {
      shapes[tensor.name] = tensor.shape
      let bytes = try file.read(tensor.byteCount, at: tensor.offset)
      arrays[tensor.name] = bytes.withUnsafeBytes { raw in
        switch tensor.elementType {
        case .f32: (0..<raw.count / 4).map { Double(raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)) }
        case .f64: (0..<raw.count / 8).map { raw.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self) }
        case .i32: (0..<raw.count / 4).map { Double(raw.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        default: []
        }
      }
    }
    cases = try JSON(parsing: FileSystem.read(base + ".json"))["cases"]?.array ?? []
    self.arrays = arrays
    let (w, x) = (shapes["W"] ?? [], shapes["X"] ?? [])
    weight = try Matrix(rows: w[0], columns: w[1], elements: (arrays["W"] ?? []).map { Float($0) })
    inputs = try Matrix(rows: x[0], columns: x[1], elements: arrays["X"] ?? [])
    bias = arrays["bias"] ?? []
    statistics = try Self.statistics(of: inputs)
  }

  static func statistics(of inputs: Matrix<Double>) throws -> SiteStatistics {
    var statistics = SiteStatistics(width: inputs.columns)
    statistics.count = inputs.rows
    for i in 0..<inputs.rows {
      for j in 0..<inputs.columns {
        statistics.sums[j] += inputs[i, j]
        statistics.squareSums[j] += inputs[i, j] * inputs[i, j]
        statistics.absoluteSums[j] += abs(inputs[i, j])
      }
    }
    statistics.moment = .full(try MatrixProduct.product(inputs, inputs, transposingFirst: true))
    return statistics
  }

  struct Case {
    var name: String
    var rank: Int
    var error: Double
    var optimum: Double?
    var affineError: Double?
  }

  /// The cases of a method, feature PCA by whether it is centered.
  func cases(of method: String, centered: Bool? = nil) -> [Case] {
    cases.filter { entry in
      entry["method"]?.string == method && (centered == nil || entry["params"]?["centered"] == .bool(centered ?? false))
    }.map { entry in
      Case(
        name: entry["case"]?.string ?? "", rank: Int(entry["params"]?["rank"]?.number ?? 0),
        error: entry["output_error_rel"]?.number ?? .nan, optimum: entry["optimum_output_error_rel"]?.number,
        affineError: entry["affine_output_error_rel"]?.number)
    }
  }

  func array(_ name: String) -> [Double] { arrays[name] ?? [] }
  func integers(_ name: String) -> [Int] { array(name).map { Int($0) } }
}
