internal import EspalierBasics
internal import EspalierNumerics

/// A named result of a network, in the shape transformers gives it: `[batch, length, width]`, `[batch, width]` for what
/// stands for a whole sequence, `[batch, channels, height, width]` for pictures. What was masked out is 0.
public struct NetworkOutput: Sendable {
  public let name: String
  public let shape: [Int]
  public let values: [Float]

  public init(name: String, shape: [Int], values: [Float]) {
    (self.name, self.shape, self.values) = (name, shape, values)
  }
}

extension NetworkOutput {
  /// - Parameter length: the length of the longest sequence as it was given, padding included; what stands beyond it
  ///   makes the output longer.
  init(_ name: String, _ value: Activation, length: Int) {
    self.name = name
    let (segments, width) = (value.segments, value.width)
    let length = max(length, segments.positions.reduce(0) { max($0, Int($1) + 1) })
    if let grid = segments.grid {
      let area = grid.height * grid.width
      shape = [segments.count, width, grid.height, grid.width]
      var values = [Float](repeating: 0, count: value.count)
      for row in 0..<value.rows {
        let (picture, place) = row.quotientAndRemainder(dividingBy: area)
        for channel in 0..<width {
          values[(picture * width + channel) * area + place] = value.floats[row * width + channel]
        }
      }
      self.values = values
    } else if segments.isPooled {
      shape = [segments.count, width]
      values = Array(value.view)
    } else {
      shape = [segments.count, length, width]
      var values = [Float](repeating: 0, count: segments.count * length * width)
      for sequence in 0..<segments.count {
        for row in segments.rows(of: sequence) {
          let place = (sequence * length + Int(segments.positions[row])) * width
          for index in 0..<width { values[place + index] = value.floats[row * width + index] }
        }
      }
      self.values = values
    }
  }
}

extension NetworkInputs.Pictures {
  /// Pixels as rows, channels within a row.
  func activation() throws(Problem) -> Activation {
    let buffer = try AlignedBuffer(count: values.count, of: Float.self)
    let area = height * width
    for picture in 0..<count {
      for channel in 0..<channels {
        for place in 0..<area {
          buffer.floats[(picture * area + place) * channels + channel] =
            values[(picture * channels + channel) * area + place]
        }
      }
    }
    return Activation(
      buffer: buffer, width: channels,
      segments: Segments(lengths: Array(repeating: area, count: count), grid: (height, width)))
  }
}
